"""Augmentation: labels go with the pixels, nothing leaves the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.drawn_data import DOTS, face, find_dot
from trainers.augment import augment, color, geometry, mixing, presets
from trainers.augment.augment import Sometimes
from trainers.augment.color import sharpen
from trainers.data.dataset import Sample

SEEDS = st.integers(0, 2**32)
GEOMETRY = [
    geometry.Mirror(1.0),
    geometry.Crop(0.6),
    geometry.Affine(15, 8, 0.8, 1.2, 0.1),
    geometry.Affine(degrees=30, shear_degrees=0, smallest=1, largest=1, shift=0),
    geometry.Affine(degrees=0, shear_degrees=15, smallest=1, largest=1, shift=0),
    geometry.Warp(0.12),
]
COLOUR = [
    color.ColorShift(),
    color.PcaColor(),
    color.CheapCamera(1.0),
    color.CheapCamera(0.4),
    color.Night(),
]
MIXING = [mixing.Mosaic()]


def _name(change: object) -> str:
    return str(change).partition(" at 0x")[0][:40]


def draw(rng: np.random.Generator) -> Sample:
    return face(int(rng.integers(1000)), (int(rng.integers(60, 200)), int(rng.integers(60, 200))))


EVERY = augment.bind([*GEOMETRY, *COLOUR, *MIXING], draw)


@pytest.mark.parametrize("change", EVERY, ids=_name)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_boxes_and_points_stay_inside_and_columns_stay_equal(change, seed):
    rng = np.random.default_rng(seed)
    before = draw(rng)
    pixels = before.image.copy()
    after = change(before, rng)
    w, h = after.size_wh
    assert (before.image == pixels).all(), "the sample given must stay as it is"
    assert (after.xyxy >= 0).all()
    assert (after.xyxy <= [w, h, w, h]).all()
    assert (after.xyxy[:, 2:] > after.xyxy[:, :2]).all()
    known = after.landmarks[np.isfinite(after.landmarks).all(2)]
    assert ((known >= 0) & (known <= [w, h])).all()
    assert after.image.dtype == np.uint8
    assert not after.image.flags.writeable


@pytest.mark.parametrize("change", GEOMETRY, ids=_name)
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_landmarks_stay_with_their_pixels(change, seed):
    before = face(seed)
    after = change(before, np.random.default_rng(seed))
    if not len(after):
        return
    mirrored = isinstance(change, geometry.Mirror)
    order = [1, 0, 2, 4, 3] if mirrored else range(5)  # the left eye's dot is now the right eye
    w, h = after.size_wh
    for n, dot in enumerate(order):
        point = after.landmarks[0, n]
        if np.isfinite(point).all() and (point > 6).all() and (point < [w - 6, h - 6]).all():
            seen = find_dot(after.image, DOTS[dot])
            assert seen is not None, f"dot {n} was said to be at {point}"
            assert np.abs(seen - point).max() < 1.5


@pytest.mark.parametrize("change", GEOMETRY, ids=_name)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_box_still_holds_the_landmarks_inside_it(change, seed):
    after = change(face(seed), np.random.default_rng(seed))
    for box, five in zip(after.xyxy, after.landmarks, strict=True):
        known = five[np.isfinite(five).all(1)]
        assert ((known >= box[:2] - 1) & (known <= box[2:] + 1)).all()


@pytest.mark.parametrize("change", COLOUR, ids=_name)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_colour_changes_pixels_and_nothing_else(change, seed):
    before = face(seed)
    after = change(before, np.random.default_rng(seed))
    assert after.size_wh == before.size_wh
    assert after.xyxy is before.xyxy
    assert after.landmarks is before.landmarks


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_mirror_twice_is_nothing(seed):
    before = face(seed)
    once = geometry.mirror(before)
    twice = geometry.mirror(once)
    assert (twice.image == before.image).all()
    assert not (once.image == before.image).all()
    np.testing.assert_allclose(twice.xyxy, before.xyxy, atol=1e-4)
    np.testing.assert_allclose(twice.landmarks, before.landmarks, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_crop_keeps_an_object_and_cuts_through_none(seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 120, (4, 2))
    size = rng.uniform(8, 40, (4, 2))
    before = Sample(
        np.zeros((160, 160, 3), np.uint8), np.concatenate([low, low + size], 1).astype(np.float32),
        np.arange(4, dtype=np.int32), np.full((4, 5, 2), np.nan, np.float32),
        np.ones(4, np.float32), "n", "g",
    )  # fmt: skip
    after = geometry.Crop(0.3)(before, rng)
    assert len(after) >= 1
    kept = before[np.isin(before.class_id, after.class_id)]
    area = (after.xyxy[:, 2:] - after.xyxy[:, :2]).prod(1)
    assert (area >= 0.79 * (kept.xyxy[:, 2:] - kept.xyxy[:, :2]).prod(1)).all()


def test_a_quarter_turn_moves_a_box_exactly():
    turned = geometry.transform_boxes(
        np.float32([[10, 20, 30, 60]]), np.array([[0, -1, 100], [1, 0, 0]])
    )
    assert turned.tolist() == [[40, 10, 80, 30]]


@pytest.mark.parametrize("change", augment.bind(MIXING, draw), ids=_name)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_mixed_in_objects_bring_their_dots_along(change, seed):
    rng = np.random.default_rng(seed)
    after = change(face(seed, (400, 300)), rng)
    assert len(after) >= 1
    for box, five in zip(after.xyxy, after.landmarks, strict=True):
        if (box[2:] - box[:2]).min() < 60:  # small dots lose their color
            continue
        for point, dot in zip(five, DOTS, strict=True):
            if np.isfinite(point).all():
                x, y = np.minimum(point.astype(int), np.array(after.size_wh) - 1)
                assert np.abs(after.image[y, x].astype(int) - dot).max() < 130


def test_unbound_mosaic_says_what_it_lacks():
    with pytest.raises(LookupError, match="bind"):
        mixing.Mosaic()(face(0), np.random.default_rng(0))


def test_binding_reaches_a_change_that_happens_sometimes():
    (bound,) = augment.bind([Sometimes(1.0, mixing.Mosaic())], draw)
    assert len(bound(face(0), np.random.default_rng(0))) >= 2


def test_sometimes_happens_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    before = face(0)
    change = Sometimes(0.25, geometry.Mirror(1.0))
    assert 20 < sum(change(before, rng) is not before for _ in range(160)) < 60


@pytest.mark.parametrize(
    "preset", [presets.detector_augments, lambda strength: presets.face_augments(128, strength)]
)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_presets_are_the_same_for_the_same_seed(preset, strength):
    changes = augment.bind(preset(strength), draw)
    for seed in range(8):
        one = augment.apply(changes, face(seed), np.random.default_rng(seed))
        two = augment.apply(changes, face(seed), np.random.default_rng(seed))
        assert (one.image == two.image).all()
        np.testing.assert_array_equal(one.xyxy, two.xyxy)


def test_night_is_darker_and_infrared_has_no_colour():
    day = face(1)
    night = color.Night(infrared=1.0, noise=2.0)(day, np.random.default_rng(1)).image.astype(int)
    assert night.mean() < day.image.mean()
    assert np.abs(night[..., 0] - night[..., 1]).mean() < 4


def test_sharpening_makes_edges_steeper_and_leaves_flat_places_alone():
    image = np.full((40, 60, 3), 80, np.uint8)
    image[:, 30:] = 160
    seen = sharpen(image, 1.0, 0.8)
    assert seen[:, 30:].max() > 170
    assert seen[:, :30].min() < 70
    assert (seen[:, :20] == 80).all()
    assert (seen[:, 40:] == 160).all()
