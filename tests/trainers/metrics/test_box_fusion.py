"""Fusion of several views, at test time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.types import Detections, RgbPicture
from trainers.metrics.box_fusion import Ensemble, Flip, MultiCrop, weighted_box_fusion


def rows(*items: tuple[list[float], float, int]) -> Detections:
    return Detections(
        np.array([i[0] for i in items], np.float32).reshape(-1, 4),
        np.array([i[1] for i in items], np.float32),
        np.array([i[2] for i in items], np.int32),
    )


def test_boxes_of_one_object_become_their_mean_weighted_by_score():
    fused = weighted_box_fusion(
        [rows(([0, 0, 100, 100], 0.9, 0)), rows(([10, 0, 110, 100], 0.3, 0))]
    )
    assert fused.xyxy[0] == pytest.approx([2.5, 0, 102.5, 100])
    assert fused.score[0] == pytest.approx(0.6)


def test_what_one_of_two_saw_counts_half_and_other_classes_stay_apart():
    fused = weighted_box_fusion(
        [rows(([0, 0, 100, 100], 0.8, 0)), rows(([0, 0, 100, 100], 0.6, 1))]
    )
    assert fused.score.tolist() == pytest.approx([0.4, 0.3])
    assert fused.class_id.tolist() == [0, 1]


def test_trust_in_a_view_weighs_its_boxes_and_scores():
    fused = weighted_box_fusion(
        [rows(([0, 0, 100, 100], 0.8, 0)), rows(([8, 0, 108, 100], 0.8, 0))], weight=[3, 1]
    )
    assert fused.xyxy[0, 0] == pytest.approx(2)
    assert fused.score[0] == pytest.approx(0.8)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_equal_opinions_change_nothing_but_the_order(seed: int, views: int):
    rng = np.random.default_rng(seed)
    low = rng.permutation(16)[:6, None] * [100, 0] + [0, 5]
    found = Detections(
        np.concatenate([low, low + rng.integers(20, 90, (6, 2))], 1).astype(np.float32),
        rng.uniform(0.1, 1, 6).astype(np.float32),
        rng.integers(0, 3, 6).astype(np.int32),
    )
    fused = weighted_box_fusion([found] * views)
    order = np.argsort(-found.score)
    np.testing.assert_allclose(fused.xyxy, found.xyxy[order], atol=1e-3)
    np.testing.assert_allclose(fused.score, found.score[order], atol=1e-6)


def blob_detector(picture: RgbPicture) -> Detections:
    """Finds the white rectangle of a picture."""
    ys, xs = np.nonzero(picture.rgb[..., 0] > 128)
    if not len(xs):
        return Detections.empty()
    return rows(([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], 0.8, 0))


def white_at(x1: int, y1: int, x2: int, y2: int) -> RgbPicture:
    image = np.zeros((200, 300, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return RgbPicture(image)


VIEWS = [Flip(blob_detector), MultiCrop(blob_detector), MultiCrop(blob_detector, 3)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("box", [(10, 20, 40, 60), (140, 80, 170, 110), (250, 150, 300, 200)])
def test_views_find_the_object_where_it_is_at_full_score(view, box):
    found = view(white_at(*box))
    assert found.xyxy.tolist() == [pytest.approx(box)]
    assert found.score[0] == pytest.approx(0.8)


def test_cost_is_counted_in_passes_of_the_network():
    assert Flip(blob_detector).passes == 2
    assert MultiCrop(blob_detector, 2).passes == 5
    assert Ensemble((blob_detector, Flip(MultiCrop(blob_detector, 3)))).passes == 21


def test_an_ensemble_of_nothing_found_finds_nothing():
    assert len(Ensemble((blob_detector, blob_detector))(white_at(0, 0, 0, 0))) == 0


def test_a_weight_for_each_view_is_asked_for():
    with pytest.raises(ValueError, match="2 positive weights"):
        weighted_box_fusion([Detections.empty()] * 2, weight=[1])
