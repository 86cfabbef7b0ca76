"""NME of 68 points, its mean over people, and what rounding alone adds to labels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.drawn_faces import draw_points
from trainers.evaluation.landmarks import measure_rounding
from trainers.metrics.points import mean_over_people, measure_nme


def faces(count: int) -> np.ndarray:
    return np.stack([draw_points(np.random.default_rng(n)) for n in range(count)])


def test_nme_is_the_mean_distance_over_that_of_the_outer_corners_of_the_eyes():
    labeled = faces(2)
    eyes = np.linalg.norm(labeled[:, 45] - labeled[:, 36], axis=1)
    moved = labeled + np.float32([3, 4])  # by 5 pixels
    np.testing.assert_allclose(measure_nme(moved, labeled), 5 / eyes, rtol=1e-5)
    assert measure_nme(labeled, labeled).max() == 0


def test_the_interval_is_of_people_not_of_pictures():
    values = np.float32([0, 0, 0, 0, 1, 1, 1, 1])
    whole = mean_over_people(values, ["ann"] * 4 + ["bob"] * 4)
    assert whole.value == 0.5
    assert (whole.low, whole.high, whole.n) == (0.0, 1.0, 8)
    apart = mean_over_people(values, list("abcdefgh"))
    assert apart.high - apart.low < 1
    some = mean_over_people(values, ["ann"] * 4 + ["bob"] * 4, np.arange(8) < 4)
    assert (some.value, some.n) == (0.0, 4)
    assert np.isnan(mean_over_people(values, ["ann"] * 8, np.zeros(8, bool)).value)


@pytest.mark.parametrize("step", [2, 3])
def test_rounding_is_measured_from_the_grid_it_left(step: int):
    exact = faces(30)
    rounded = (np.round(exact / step) * step).astype(np.float32)
    true = measure_nme(rounded, exact)
    assert measure_rounding(rounded).mean() == pytest.approx(true.mean(), rel=0.3)
