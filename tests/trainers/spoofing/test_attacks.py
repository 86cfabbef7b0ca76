"""Simulated attacks: their shapes, their seeds, and that each does to a picture what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.spoofing.attacks import (
    ALL,
    HELD_OUT,
    KINDS,
    Camera,
    Clip,
    Pose,
    extend_surroundings,
    mirror_clip,
    project_plane,
    simulate_attack,
)
from trainers.spoofing.clips import Scenes
from trainers.spoofing.media import Bare, Cutout, Print, Screen

BOX = np.array([[60, 40, 120, 120]], np.float32)


def take_of(frames: int = 1, seed: int = 0, size_wh: tuple[int, int] = (180, 160)) -> Clip:
    """Pictures of colored blobs in which the face is a bright blue box."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(frames):
        image = rng.integers(0, 120, (size_wh[1], size_wh[0], 3), np.uint8)
        x1, y1, x2, y2 = BOX[0].astype(int)
        image[y1:y2, x1:x2] = (30, 40, 250)
        images.append(image)
    return Clip(tuple(images), np.tile(BOX, (frames, 1)))


def attacked(name: str, seed: int, frames: int = 1) -> Clip:
    rng = np.random.default_rng(seed)
    return simulate_attack(take_of(frames), ALL[name], Scenes(), lambda _: take_of(seed=9), rng)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_an_attack_is_a_take_whose_face_is_finite_and_partly_seen(name, seed):
    made = attacked(name, seed, frames=3)
    assert len(made) == 3
    for image, box in zip(made.images, made.xyxy, strict=True):
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert np.isfinite(box).all()
        assert (box[2:] > box[:2]).all()
        seen = np.minimum(box[2:], image.shape[1::-1]) - np.maximum(box[:2], 0)
        assert (seen > 0).all(), "nothing of the face is left in the picture"


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_attack_and_another_one_another(name):
    one, same, other = attacked(name, 3), attacked(name, 3), attacked(name, 4)
    assert np.array_equal(one.images[0], same.images[0])
    assert np.array_equal(one.xyxy, same.xyxy)
    shape = other.images[0].shape
    assert shape != one.images[0].shape or not np.array_equal(one.images[0], other.images[0])


def test_the_box_follows_the_face_through_cut_bend_and_perspective():
    near = []
    for seed in range(60):
        rng, dark = np.random.default_rng(seed), np.zeros((90, 120, 3), np.uint8)
        made = simulate_attack(
            take_of(), ALL["plain"], lambda _, dark=dark: dark, lambda _: take_of(), rng
        )
        image, box = made.images[0].astype(int), made.xyxy[0]
        blue = image[..., 2] > image[..., :2].max(2) + 60
        if blue.sum() < 200:
            continue
        y, x = np.nonzero(blue)
        found = np.array([x.mean(), y.mean()])
        near.append(np.abs(found - (box[:2] + box[2:]) / 2).max() / (box[2:] - box[:2]).max())
    assert len(near) > 20
    assert np.median(near) < 0.1


@pytest.mark.parametrize("name", [n for n, kind in ALL.items() if not kind.video])
def test_a_still_picture_shows_the_same_face_in_each_picture_of_its_take(name):
    first, *others = attacked_surfaces(name)
    assert not others, "a still picture has one surface"
    assert first.rgba.dtype == np.uint8


def attacked_surfaces(name: str) -> list:
    """What the medium of a kind was asked to make for a take of three pictures."""
    made = []

    def spy(image, face, rng):
        made.append(ALL[name].medium(image, face, rng))
        return made[-1]

    kind = type(ALL[name])(
        spy, **{f: getattr(ALL[name], f) for f in ("video", "bends", "near", "worn")}
    )
    simulate_attack(take_of(3), kind, Scenes(), lambda _: take_of(), np.random.default_rng(0))
    return made


def test_a_video_on_a_screen_shows_each_picture():
    assert len(attacked_surfaces("phone")) == 3


def test_nobody_trains_on_the_kinds_that_are_held_out():
    assert not set(KINDS) & set(HELD_OUT)
    assert len(HELD_OUT) >= 2


def test_a_print_has_fewer_tones_and_less_colour():
    image = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    for seed in range(5):
        printed = Print(margin=0)(image, BOX[0], np.random.default_rng(seed)).rgba[..., :3]
        assert np.ptp(np.percentile(printed, [2, 98])) < np.ptp(np.percentile(image, [2, 98]))
        spread = printed.astype(int).max(2) - printed.min(2)
        assert spread.mean() < (image.astype(int).max(2) - image.min(2)).mean()


def test_a_screen_that_is_sampled_coarsely_shows_moire():
    flat = np.full((120, 120, 3), 128, np.uint8)
    surface = Screen(bezel=0)(flat, BOX[0], np.random.default_rng(2))
    assert surface.scale in (2, 3)
    kind = type(KINDS["screen"])(Screen(bezel=0), video=True, near=1.0)
    seen = simulate_attack(Clip((flat,), BOX.copy()), kind, Scenes(), lambda _: take_of(),
                  np.random.default_rng(5)).images[0]  # fmt: skip
    bare = simulate_attack(Clip((flat,), BOX.copy()), type(kind)(Bare(), near=1.0), Scenes(),
                  lambda _: take_of(), np.random.default_rng(5)).images[0]  # fmt: skip
    assert seen.std(axis=(0, 1)).max() > 2 * bare.std(axis=(0, 1)).max()


def test_a_cut_out_ends_at_the_outline_and_may_have_holes_for_the_eyes():
    image = np.full((160, 180, 3), 200, np.uint8)
    whole = Cutout(Bare(), holes=0.0)(image, BOX[0], np.random.default_rng(0)).rgba[..., 3]
    holed = Cutout(Bare(), holes=1.0)(image, BOX[0], np.random.default_rng(0)).rgba[..., 3]
    assert whole[80, 90] == 255
    assert whole[0, 0] == 0
    assert (holed < whole).sum() > 20


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-0.8, 0.8), st.floats(-0.8, 0.8), st.floats(-3, 3), st.floats(0.2, 4),
    st.integers(0, 1000),
)  # fmt: skip
def test_a_plane_stays_a_plane(yaw, pitch, roll, scale, seed):
    """Straight lines stay straight: three points on one line are seen on one line."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-100, 100, (2, 2))
    line = np.stack([a, b, a + 0.3 * (b - a)]).astype(np.float32)
    corners = np.concatenate([line, [[-120, -120], [120, 120]]]).astype(np.float32)
    seen = project_plane(corners, Pose(scale, roll, yaw, pitch, (50, 60)), np.zeros(2, np.float32))
    one, other = (seen[1] - seen[0]).astype(float), (seen[2] - seen[0]).astype(float)
    cross = one[0] * other[1] - one[1] * other[0]
    assert abs(cross) <= 1e-3 * (np.linalg.norm(one) ** 2 + 1)


def test_the_middle_of_a_plane_is_seen_where_the_pose_says():
    seen = project_plane(np.array([[7, 9], [40, 3]], np.float32), Pose(2, 0.4, 0.3, -0.2, (50, 60)),
                 np.array([7, 9], np.float32))  # fmt: skip
    assert seen[0] == pytest.approx([50, 60])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_camera_moves_no_face(seed):
    clip = take_of()
    taken = Camera(chance=0.7)(clip, np.random.default_rng(seed))
    ratio = np.array(taken.images[0].shape[1::-1]) / np.array(clip.images[0].shape[1::-1])
    assert taken.xyxy[0] == pytest.approx(clip.xyxy[0] * np.tile(ratio, 2), abs=0.5)


def test_mirroring_twice_gives_the_same_take():
    clip = take_of(2)
    twice = mirror_clip(mirror_clip(clip))
    assert np.array_equal(twice.images[1], clip.images[1])
    assert twice.xyxy == pytest.approx(clip.xyxy)


def test_more_room_leaves_the_face_as_it_is():
    clip = take_of()
    wide = extend_surroundings(clip, 1.5)
    x1, y1, x2, y2 = wide.xyxy[0].astype(int)
    assert (wide.images[0][y1 + 5 : y2 - 5, x1 + 5 : x2 - 5] == (30, 40, 250)).all()
    assert wide.images[0].shape[0] == pytest.approx(1.5 * clip.images[0].shape[0], abs=2)


def test_a_take_needs_a_face_in_each_picture():
    with pytest.raises(ValueError, match="one face per image"):
        Clip((np.zeros((4, 4, 3), np.uint8),), np.zeros((2, 4), np.float32))
