"""Which row answers for which box, on networks small enough to count by hand."""

from __future__ import annotations

import numpy as np
from keras import ops

from trainers.losses import assignment as assign
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import Decoded, cells

ANCHORS = tuple(((s * 1.0, s * 1.0), (s * 2.0, s * 2.0), (s * 3.0, s * 3.0)) for s in (8, 16, 32))
TINY = NetworkConfig(("a", "b"), (64, 64), head="anchor", anchors_wh=ANCHORS)
FREE = NetworkConfig(("a", "b"), (64, 64))


def found_at(boxes: np.ndarray, classes: int = 2, logit: float = -2.0) -> Decoded:
    """(A, 4) predicted boxes, all equally unsure."""
    a = len(boxes)
    return Decoded(
        ops.convert_to_tensor(boxes[None].astype(np.float32)),
        ops.full((1, a), logit), ops.full((1, a, classes), logit), ops.zeros((1, a, 5, 2)),
    )  # fmt: skip


def on_cells(config: NetworkConfig, size_strides: float = 2.0) -> np.ndarray:
    place, stride = cells(config.input_wh, config.num_anchors)
    center, half = (place + 0.5) * stride, size_strides / 2 * stride
    return np.concatenate([center - half, center + half], 1)


def test_cells_run_over_strides_then_rows_then_anchors():
    place, stride = cells((64, 32), num_anchors=2)
    assert len(place) == 2 * (8 * 4 + 4 * 2 + 2 * 1)
    np.testing.assert_array_equal(place[:4], [[0, 0], [0, 0], [1, 0], [1, 0]])
    assert stride[0] == 8
    assert stride[-1] == 32


def test_the_midpoints_cell_and_the_anchor_of_best_shape_are_responsible():
    # midpoint (20, 44), 16 x 16: anchor 1 of stride 8 fits exactly, cell column 2, row 5
    box = np.float32([[[12, 36, 28, 52]]])
    row = int(assign.responsible_row(ops.convert_to_tensor(box), TINY)[0, 0])
    assert row == (5 * 8 + 2) * 3 + 1


def test_a_large_box_goes_to_the_coarse_stride():
    box = np.float32([[[0, 0, 64, 64]]])  # 64 = anchor 1 of stride 32, cell (1, 1)
    row = int(assign.responsible_row(ops.convert_to_tensor(box), TINY)[0, 0])
    assert row == 3 * (64 + 16) + (1 * 2 + 1) * 3 + 1


def test_grid_ignores_free_rows_that_fit_well():
    boxes = np.float32([[[12, 36, 28, 52]]])
    predicted = on_cells(TINY)
    predicted[0] = boxes[0, 0]  # a row far from the midpoint that predicts the box exactly
    match = assign.assign_grid(
        found_at(predicted), ops.convert_to_tensor(boxes), ops.zeros((1, 1), "int32"), TINY
    )
    taken, ignored = map(ops.convert_to_numpy, (match.positive[0], match.ignored[0]))
    assert np.flatnonzero(taken).tolist() == [(5 * 8 + 2) * 3 + 1]
    assert ignored[0] == 1
    assert not (taken * ignored).any()


def test_padding_takes_no_row():
    nothing = ops.full((1, 3), -1, "int32")
    for way, config in ((assign.assign_grid, TINY), (assign.assign_dynamic, FREE)):
        match = way(found_at(on_cells(config)), ops.zeros((1, 3, 4)), nothing, config)
        assert float(ops.sum(match.positive)) == 0


def test_dynamic_takes_rows_near_the_midpoint_only():
    boxes = ops.convert_to_tensor(np.float32([[[10, 10, 26, 26], [40, 40, 62, 62]]]))
    match = assign.assign_dynamic(found_at(on_cells(FREE)), boxes, ops.zeros((1, 2), "int32"), FREE)
    taken, row = map(ops.convert_to_numpy, (match.positive[0], match.box_row[0]))
    place, stride = cells(FREE.input_wh)
    middles = np.float32([[18, 18], [51, 51]])
    assert taken.sum() >= 2
    for a in np.flatnonzero(taken):
        away = np.abs((place[a] + 0.5) * stride[a] - middles[row[a]]).max()
        assert away < assign.CENTER_RADIUS * stride[a]


def test_dynamic_prefers_the_row_that_fits():
    boxes = np.float32([[[16, 16, 32, 32]]])
    predicted = on_cells(FREE, 0.3)
    best = 2 * 8 + 2  # cell (2, 2) of stride 8, whose center is (20, 20)
    predicted[best] = boxes[0, 0]
    match = assign.assign_dynamic(
        found_at(predicted), ops.convert_to_tensor(boxes), ops.zeros((1, 1), "int32"), FREE
    )
    assert float(match.positive[0, best]) == 1
    assert float(match.iou[0, best]) == 1


def test_a_row_answers_for_one_box_only():
    boxes = ops.convert_to_tensor(np.float32([[[10, 10, 26, 26], [11, 11, 27, 27]]]))
    match = assign.assign_dynamic(found_at(on_cells(FREE)), boxes, ops.zeros((1, 2), "int32"), FREE)
    taken = ops.convert_to_numpy(match.positive)
    assert set(np.unique(taken)) == {0, 1}
    assert set(ops.convert_to_numpy(match.box_row)[taken > 0]) <= {0, 1}


def test_pairwise_iou_agrees_with_the_reference():
    from edge.vision.boxes import iou

    rng = np.random.default_rng(3)
    a, b = (rng.uniform(0, 50, (n, 2, 2)) for n in (5, 7))
    a, b = (np.concatenate([x.min(1), x.max(1)], 1).astype(np.float32) for x in (a, b))
    ours = assign.pairwise_iou(ops.convert_to_tensor(a[None]), ops.convert_to_tensor(b[None]))
    np.testing.assert_allclose(ops.convert_to_numpy(ours)[0], iou(a, b), atol=1e-5)
