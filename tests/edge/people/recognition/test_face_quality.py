"""Face quality: pose by points, sharpness and exposure by pixels."""

import numpy as np
import pytest

from edge.people import reasons
from edge.people.recognition import face_quality as quality
from edge.people.recognition.face_quality import (
    ENROLL,
    LOOK,
    QualityLimits,
    assess,
    estimate_pose,
    measure_eyes_px,
)
from edge.vision.face_crops import FACE_POINTS


def turned(yaw=0.0, pitch=0.0, roll=0.0, scale=0.6):
    """Points of the mean head, turned by degrees, as a far camera sees them; (1, 5, 2)."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    head = quality._HEAD_MM @ (np.array(about_z) @ about_x @ about_y).T
    return (head[None, :, :2] * scale + 200).astype(np.float32)


def crops(contrast=40.0, brightness=128.0, period=0):
    """Noise, or a smooth wave of so many pixels, (1, 112, 112, 3)."""
    wave = np.random.default_rng(0).standard_normal((112, 112))
    if period:
        wave = np.sqrt(2) * np.sin(
            np.arange(112 * 112).reshape(112, 112) % 112 / period * 2 * np.pi
        )
    gray = np.clip(brightness + contrast * wave, 0, 255).astype(np.uint8)
    return np.repeat(gray[None, :, :, None], 3, axis=3)


@pytest.mark.parametrize("angle", [-50, -20, 0, 15, 40])
@pytest.mark.parametrize("about", ["yaw", "pitch", "roll"])
def test_pose_finds_the_angle_a_head_was_turned_by(about, angle):
    found = estimate_pose(turned(**{about: angle}))
    for name in ("yaw", "pitch", "roll"):
        value = getattr(found, f"{name}_deg")[0]
        assert value == pytest.approx(angle if name == about else 0, abs=0.5)


def test_the_nose_tells_the_sign_of_yaw_and_pitch():
    points = FACE_POINTS[None].copy()
    points[0, 2, 0] += 10
    assert estimate_pose(points).yaw_deg[0] > 10
    points[0, 2] += (-10, -10)
    assert estimate_pose(points).pitch_deg[0] > estimate_pose(FACE_POINTS[None]).pitch_deg[0] + 10


def test_eye_distance_is_in_pixels_of_the_source():
    assert measure_eyes_px(turned(scale=1.0))[0] == pytest.approx(63)


def test_a_good_face_has_no_refusal_and_a_high_value():
    found = assess(turned(), crops())
    assert found.find_issues(0, ENROLL) == ()
    assert found.value[0] > 0.8


@pytest.mark.parametrize(
    ("points", "pixels", "reason"),
    [
        (turned(scale=0.2), crops(), "too small"),
        (turned(yaw=70), crops(), "turned away"),
        (turned(pitch=-60), crops(), "turned away"),
        (turned(), crops(period=56), "blurred"),
        (turned(), crops(brightness=15, contrast=10), "too dark"),
        (turned(), crops(brightness=250, contrast=20), "too bright"),
        (turned(), crops(contrast=4), "too little contrast"),
    ],
)
def test_what_is_wrong_is_said_and_lowers_the_value(points, pixels, reason):
    found = assess(points, pixels)
    assert reason in [issue.text for issue in found.find_issues(0, LOOK)]
    assert found.value[0] < assess(turned(), crops()).value[0]


def test_limits_are_the_callers():
    found = assess(turned(scale=0.2), crops())
    assert found.find_issues(0, QualityLimits(eyes_px=5)) == ()


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_points_that_are_no_numbers_are_worth_nothing(spoil):
    with np.errstate(invalid="ignore"):
        found = assess(turned() * np.float32(spoil), np.zeros((1, 112, 112, 3), np.uint8))
    assert found.value[0] == 0
    assert found.find_issues(0)


def test_points_that_are_all_the_same_are_refused():
    found = assess(np.full((1, 5, 2), 7, np.float32), crops())
    assert reasons.TOO_SMALL in found.find_issues(0)


def test_no_faces_give_empty_columns():
    found = assess(np.zeros((0, 5, 2), np.float32), np.zeros((0, 112, 112, 3), np.uint8))
    assert len(found) == 0
