"""Anchors by k-means with 1 - IoU."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import ConfigError
from trainers.networks import anchors


def two_kinds() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.normal([10, 20], 1, (60, 2))
    large = rng.normal([120, 60], 5, (40, 2))
    return np.concatenate([small, large]).astype(np.float32)


def test_shape_iou_of_a_box_with_itself_is_one_and_with_its_half_a_half():
    wh = np.float32([[4, 4], [4, 2]])
    np.testing.assert_allclose(anchors.shape_iou(wh, wh), [[1, 0.5], [0.5, 1]])


def test_k_means_finds_two_kinds_of_boxes_small_ones_first():
    found = anchors.k_means(two_kinds(), 2)
    np.testing.assert_allclose(found, [[10, 20], [120, 60]], rtol=0.1)


def test_more_anchors_fit_better():
    wh = np.random.default_rng(1).uniform(5, 200, (300, 2)).astype(np.float32)
    fits = [anchors.shape_iou(wh, anchors.k_means(wh, k)).max(1).mean() for k in (1, 3, 9)]
    assert fits == sorted(fits)
    assert fits[2] > 0.6


def test_the_same_seed_gives_the_same_anchors():
    wh = two_kinds()
    np.testing.assert_array_equal(anchors.k_means(wh, 3, seed=4), anchors.k_means(wh, 3, seed=4))


def test_too_few_different_boxes_say_what_to_do():
    with pytest.raises(ConfigError, match="anchor-free"):
        anchors.k_means(np.full((50, 2), 7, np.float32), 3)


def test_a_network_gets_three_anchors_a_stride_by_rising_area():
    wh = np.random.default_rng(2).uniform(5, 200, (300, 2)).astype(np.float32)
    found = np.array(anchors.fit_anchors(wh))
    assert found.shape == (3, 3, 2)
    assert (np.diff(found.prod(-1).ravel()) >= 0).all()
