"""Box arithmetic against arithmetic done one box at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.vision import boxes

COORDINATE = st.floats(-100, 2000, width=32)
ANY_BOXES = arrays.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(4)), elements=COORDINATE)


def upright(xyxy):
    """The same corners, low before high, to 1/256 pixel: float32 has no area for thinner ones."""
    xyxy = np.round(xyxy * 256) / 256
    low, high = np.minimum(xyxy[:, :2], xyxy[:, 2:]), np.maximum(xyxy[:, :2], xyxy[:, 2:])
    return np.concatenate([low, high], axis=1)


BOXES = ANY_BOXES.map(upright)


def one_iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


@given(BOXES, BOXES)
@settings(deadline=None)
def test_iou_is_that_of_each_pair(a, b):
    want = [[one_iou(x, y) for y in b.tolist()] for x in a.tolist()]
    got = boxes.iou(a, b)
    assert got.dtype == np.float32
    assert got.shape == (len(a), len(b))
    # float32 cannot tell nearly parallel slivers apart: 1e-3 of a pixel of 2100
    np.testing.assert_allclose(got, np.reshape(want, got.shape), atol=2e-3)


@given(ANY_BOXES, ANY_BOXES)
@settings(deadline=None)
def test_overlaps_are_shares_even_of_inverted_boxes(a, b):
    for share in (boxes.iou(a, b), boxes.containment(a, b)):
        assert np.isfinite(share).all()
        assert (share >= 0).all()
        assert (share <= 1 + 1e-3).all()
    assert (boxes.area(a) >= 0).all()


@pytest.mark.parametrize(
    ("inner", "outer", "iou", "containment"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1, 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3, 0.5),
        ((2, 2, 4, 4), (0, 0, 10, 10), 0.04, 1),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0, 0),  # they only touch
        ((3, 3, 3, 3), (0, 0, 10, 10), 0, 0),  # a point has no area
        ((9, 9, 1, 1), (0, 0, 10, 10), 0, 0),  # an inverted one neither
    ],
)
def test_overlap_by_hand(inner, outer, iou, containment):
    a, b = np.array([inner], "f4"), np.array([outer], "f4")
    assert boxes.iou(a, b)[0, 0] == pytest.approx(iou)
    assert boxes.containment(a, b)[0, 0] == pytest.approx(containment)


@given(BOXES)
@settings(deadline=None)
def test_centres_and_sizes_are_corners_again(xyxy):
    cxcywh = boxes.xyxy_to_cxcywh(xyxy)
    assert cxcywh.dtype == np.float32
    np.testing.assert_allclose(boxes.cxcywh_to_xyxy(cxcywh), xyxy, atol=1e-3)
    grown = boxes.xyxy_to_cxcywh(boxes.cxcywh_to_xyxy(cxcywh, 1.4))
    np.testing.assert_allclose(grown, cxcywh * [1, 1, 1.4, 1.4], atol=2e-3)


@given(BOXES)
@settings(deadline=None)
def test_clipped_boxes_lie_in_the_image_and_inner_ones_stay(xyxy):
    clipped = boxes.clip(xyxy, (640, 360))
    assert clipped.dtype == np.float32
    assert ((clipped >= 0) & (clipped <= [640, 360, 640, 360])).all()
    inner = ((xyxy >= 0) & (xyxy <= [640, 360, 640, 360])).all(axis=1)
    np.testing.assert_array_equal(clipped[inner], xyxy[inner])


@given(BOXES)
@settings(deadline=None)
def test_feet_are_shares_just_inside_the_image(xyxy):
    feet = boxes.locate_feet(xyxy, (640, 360))
    assert ((feet >= 0) & (feet < 1)).all()
    middle = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2 / 640, xyxy[:, 3] / 360], axis=1)
    np.testing.assert_allclose(feet, np.clip(middle, 0, 1), atol=2e-6)


# --- NMS --------------------------------------------------------------------------------------

SEED = st.integers(0, 2**32 - 1)


def crowd(seed, n=40):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (n, 2))
    xyxy = np.concatenate([low, low + rng.uniform(5, 60, (n, 2))], axis=1).astype(np.float32)
    score = rng.choice(np.linspace(0, 1, 12), n).astype(np.float32)  # with equals
    return xyxy, score, rng.integers(0, 3, n).astype(np.int32)


@given(SEED, st.floats(0, 1))
@settings(deadline=None)
def test_nms_keeps_no_two_rivals_and_drops_nothing_without_one(seed, threshold):
    xyxy, score, class_id = crowd(seed)
    kept = boxes.nms(xyxy, score, class_id, threshold)
    assert kept.dtype == np.int64
    assert (np.diff(score[kept]) <= 0).all()
    rivals = (boxes.iou(xyxy, xyxy) > threshold) & (class_id[:, None] == class_id)
    assert not np.triu(rivals[np.ix_(kept, kept)], 1).any()
    for row in set(range(len(xyxy))) - set(kept.tolist()):
        better = [k for k in kept if rivals[row, k] and (score[k], -k) > (score[row], -row)]
        assert better


@given(SEED, st.floats(0, 1))
@settings(deadline=None)
def test_nms_of_what_nms_kept_keeps_it(seed, threshold):
    xyxy, score, class_id = crowd(seed)
    kept = boxes.nms(xyxy, score, class_id, threshold)
    again = boxes.nms(xyxy[kept], score[kept], class_id[kept], threshold)
    np.testing.assert_array_equal(again, np.arange(len(kept)))


@pytest.mark.parametrize(
    ("scores", "classes", "threshold", "kept"),
    [
        ((0.8, 0.9, 0.7), (0, 0, 0), 0.3, [1, 2]),  # rows 0 and 1 overlap by a third
        ((0.8, 0.9, 0.7), (0, 0, 0), 0.34, [1, 0, 2]),
        ((0.8, 0.9, 0.7), (0, 1, 0), 0.3, [1, 0, 2]),  # of two classes
        ((0.9, 0.9, 0.9), (0, 0, 0), 0.3, [0, 2]),  # equal scores: the first
    ],
)
def test_nms_by_hand(scores, classes, threshold, kept):
    xyxy = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 0, 60, 10]], "f4")
    found = boxes.nms(xyxy, np.array(scores, "f4"), np.array(classes, "i4"), threshold)
    assert found.tolist() == kept


def test_nms_of_nothing_is_nothing():
    none = np.zeros(0, "f4")
    assert boxes.nms(np.zeros((0, 4), "f4"), none, none.astype("i4"), 0.5).tolist() == []
