"""Where a part of a plane went, against shifts that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.vision.patch import Patch

EVERYWHERE = np.ones((64, 80), bool)


def draw(x: float = 0, y: float = 0, seed: int = 1) -> np.ndarray:
    """A plane ``(64, 80)`` whose content is shifted by pixels, cut from a larger one."""
    coarse = np.random.default_rng(seed).uniform(20, 230, (40, 45)).astype(np.float32)
    large = cv2.GaussianBlur(
        cv2.resize(coarse, (450, 400), interpolation=cv2.INTER_CUBIC), (0, 0), 6
    )
    to = np.array([[0.25, 0, x - 16], [0, 0.25, y - 18]])
    return cv2.warpAffine(large, to, (80, 64), flags=cv2.INTER_LINEAR)


@pytest.mark.parametrize("shift", [(0, 0), (0.3, -0.2), (1.5, 0.7), (-4, 3)])
@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (0.8, 15)])
def test_a_shift_is_found_whatever_the_light(shift, gain, offset):
    noise = np.random.default_rng(0).normal(0, 1, (64, 80)).astype(np.float32)
    found = Patch(draw(), EVERYWHERE).find_shift(gain * draw(*shift) + offset + noise)
    assert found == pytest.approx(shift, abs=0.05)


def test_of_a_part_only_its_own_shift_counts():
    left = EVERYWHERE.copy()
    left[:, 40:] = False
    other = np.where(left, draw(1.2, 0.5), draw(-2, 1))
    inside = left.copy()
    inside[:, 34:] = False
    assert Patch(draw(), inside).find_shift(other) == pytest.approx((1.2, 0.5), abs=0.05)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.full((64, 80), 90, np.float32), draw()),
        (draw(), draw(30, 0)),
        (draw(), draw(seed=7)),
        (draw(), np.full((64, 80), np.nan, np.float32)),
        (np.full((64, 80), np.nan, np.float32), draw()),
        (np.tile(np.linspace(0, 255, 80, dtype=np.float32), (64, 1)), draw()),
    ],
    ids=["blank", "far", "something else", "nothing there", "nothing", "slope"],
)
def test_what_cannot_be_told_is_nan(one, other):
    assert np.isnan(Patch(one, EVERYWHERE).find_shift(other)).all()
