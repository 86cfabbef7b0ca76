"""Night and weather: what the light does, and that labels stay with their pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import face
from trainers.augment import presets
from trainers.augment.augment import apply
from trainers.augment.conditions import (
    CONDITIONS,
    Condition,
    Under,
    blur,
    compress,
    from_light,
    infrared,
    list_conditions,
    night,
    rain,
    to_light,
)
from trainers.data.dataset import Sample


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def flat(level: int, size_wh: tuple[int, int] = (200, 160)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def textured(size_wh: tuple[int, int] = (200, 160)) -> Sample:
    noise = rng().integers(0, 256, (size_wh[1] // 8, size_wh[0] // 8, 3)).astype(np.uint8)
    image = cv2.resize(noise, size_wh, interpolation=cv2.INTER_CUBIC)
    labels = face(0, size_wh)
    columns = (labels.xyxy, labels.class_id, labels.landmarks, labels.weight)
    return Sample(image, *columns, "textured", "g")


def test_light_and_back_changes_no_level():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(from_light(to_light(levels)), levels)
    assert to_light(flat(188))[0, 0, 0] == pytest.approx(0.503, abs=0.002)  # half of the light


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_night_has_less_light_and_the_noise_of_few_electrons(strength):
    day = flat(188)
    seen = to_light(night(day, strength, rng())).astype(np.float64)
    level = float(to_light(day)[0, 0, 0])
    gain = 2 ** (-3.5 * strength)
    assert seen.mean() == pytest.approx(level * gain, rel=0.02)
    white = 4000 * 2 ** (-7 * strength)
    gray = seen @ [0.2126, 0.7152, 0.0722]  # the gray part keeps its noise, color loses some
    expected = (
        np.sqrt(level * white + 9) / white * gain * np.sqrt(0.2126**2 + 0.7152**2 + 0.0722**2)
    )
    assert gray.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_infrared_is_gray_and_brightest_in_the_middle(strength):
    seen = infrared(textured().image, strength, rng()).astype(int)
    assert (seen == seen[..., :1]).all()
    rim = np.concatenate([seen[:20, :20].ravel(), seen[-20:, -20:].ravel()])
    assert seen[60:100, 80:120].mean() > rim.mean() + 20 * strength


@pytest.mark.parametrize("seed", range(6))
def test_a_blurred_point_keeps_its_place_and_its_light(seed):
    image = flat(0, (161, 121))
    image[60, 80] = 255
    light = to_light(blur(image, 1.0, np.random.default_rng(seed)))[..., 0].astype(np.float64)
    y, x = np.mgrid[:121, :161]
    assert light.sum() == pytest.approx(1, rel=0.1)
    assert (light * x).sum() / light.sum() == pytest.approx(80, abs=0.1)
    assert (light * y).sum() / light.sum() == pytest.approx(60, abs=0.1)
    assert light.max() < 0.3


def test_jpeg_is_that_of_the_picture_itself():
    image = textured().image
    bgr = np.ascontiguousarray(image[..., ::-1])
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(compress(image, 0.5, rng()), expected)


def test_rain_is_a_veil_of_half_the_contrast_with_bright_streaks():
    image = flat(20)
    image[:, 100:] = 188
    seen = np.median(to_light(rain(image, 1.0, rng()))[..., 0], axis=0)
    before = to_light(image)[0, :, 0]
    veil = np.quantile(to_light(rain(image, 1.0, rng()))[..., 0], 0.2, axis=0)  # beside streaks
    assert veil[150:].mean() - veil[:50].mean() == pytest.approx(
        (before[150] - before[0]) / 2, rel=0.1
    )
    assert seen.mean() >= veil.mean()
    streaks = rain(flat(20), 0.5, rng())[..., 0]
    assert streaks.max() > 120
    across = np.abs(np.diff(streaks.astype(int), axis=1)).mean()
    down = np.abs(np.diff(streaks.astype(int), axis=0)).mean()
    assert across > 1.3 * down  # it falls


@pytest.mark.parametrize("name", CONDITIONS)
def test_stronger_is_further_from_the_picture_and_labels_stay(name):
    sample = textured()
    pixels = sample.image.copy()
    errors = []
    for strength in (0.1, 0.3, 0.6, 1.0):
        seen = Condition(name, strength)(sample)
        assert seen.size_wh == sample.size_wh
        assert seen.image.dtype == np.uint8
        assert seen.xyxy is sample.xyxy
        assert seen.landmarks is sample.landmarks
        errors.append(np.square(seen.image.astype(float) - pixels).mean())
    assert errors == sorted(errors)
    np.testing.assert_array_equal(sample.image, pixels)


@pytest.mark.parametrize("name", ["night", "infrared", "rain"])
def test_a_picture_always_meets_the_same_and_another_something_else(name):
    sample, other = textured(), Sample(**{**_fields(textured()), "name": "other"})
    condition = Condition(name, 0.7)
    np.testing.assert_array_equal(condition(sample).image, condition(sample).image)
    assert (condition(sample).image != condition(other).image).any()
    assert (condition(sample).image != Condition(name, 0.7, seed=1)(sample).image).any()


def _fields(sample: Sample) -> dict[str, object]:
    return {name: getattr(sample, name) for name in
            ("image", "xyxy", "class_id", "landmarks", "weight", "name", "group")}  # fmt: skip


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("size_wh", [(1, 1), (3, 50), (33, 17)])
def test_tiny_pictures_are_pictures_too(name, size_wh):
    image = flat(120, size_wh)
    assert CONDITIONS[name](image, 1.0, rng()).shape == image.shape


def test_conditions_are_listed_once_and_by_rising_strength():
    rows = list_conditions(["rain", "night", "rain"], [1, 0.5, 1])
    assert [(row.name, row.strength) for row in rows] == [
        ("rain", 0.5), ("rain", 1), ("night", 0.5), ("night", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "strengths", "words"),
    [
        (["fog"], [1.0], "no condition 'fog': use some of night, infrared, blur, jpeg, rain"),
        (["rain"], [0.0], r"strength of a condition is in \(0, 1\], got 0"),
        (["rain"], [1.5], r"in \(0, 1\], got 1.5"),
        (["rain"], [float("nan")], r"in \(0, 1\], got nan"),
        ([], [1.0], "name conditions"),
        (["rain"], [], "and their strengths"),
    ],
)
def test_what_cannot_be_is_said(names, strengths, words):
    with pytest.raises(ConfigError, match=words):
        list_conditions(names, strengths)


def test_training_may_use_them_and_does_not_unless_it_is_told():
    named = presets.name_detector_augments()
    assert [named[n].chance for n in ("dark", "infrared", "blur", "jpeg", "rain")] == [0] * 5
    changes = {"rain": {"chance": 1, "weakest": 0.9}}
    assert presets.change(named, changes)["rain"].change == Under("rain", 0.9, 1.0)
    alone = {name: {"chance": 0} for name in named} | changes
    (augment,) = presets.detector_augments(1.0, alone)
    before = textured()
    after = apply([augment], before, rng())
    assert (after.image != before.image).any()
    assert after.xyxy is before.xyxy
    with pytest.raises(ConfigError, match=r"weakest and strongest of rain must be rising"):
        presets.detector_augments(1.0, {"rain": {"weakest": 0.9, "strongest": 0.5}})
    with pytest.raises(ConfigError, match=r"rising in \[0, 1\], got 0.1 and 2"):
        presets.detector_augments(1.0, {"rain": {"strongest": 2}})
