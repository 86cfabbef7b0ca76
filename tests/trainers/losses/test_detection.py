"""Losses on values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from trainers.losses import detection as losses
from trainers.losses.detection import LossConfig
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import cells

CONFIG = NetworkConfig(("a", "b"), (64, 64), landmarks=True)


def number(x: object) -> float:
    return float(ops.convert_to_numpy(x))


def boxes(*rows: tuple[float, ...]) -> object:
    return ops.convert_to_tensor(np.float32(rows))


def test_logistic_of_a_sure_right_answer_is_zero_and_of_large_logits_finite():
    assert number(losses.logistic(ops.convert_to_tensor(50.0), 1.0)) == pytest.approx(0)
    assert number(losses.logistic(ops.convert_to_tensor(0.0), 1.0)) == pytest.approx(np.log(2))
    assert number(losses.logistic(ops.convert_to_tensor(-1e4), 1.0)) == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("a", "b", "giou_loss", "iou_loss"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 0, 0),  # the same
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5, 0.75),  # half, inside
        ((0, 0, 10, 10), (20, 0, 30, 10), 1 + 1 / 3, 1),  # apart: hull 300, union 200
        ((5, 5, 5, 5), (5, 5, 5, 5), 1, 1),  # empty: finite
    ],
)
def test_box_losses(a, b, giou_loss, iou_loss):
    assert number(losses.box_loss(boxes(a), boxes(b))[0]) == pytest.approx(giou_loss, abs=1e-5)
    assert number(losses.box_loss(boxes(a), boxes(b), "iou")[0]) == pytest.approx(iou_loss)


def test_wing_is_zero_at_zero_even_and_continuous():
    x = ops.convert_to_tensor(np.float32([0, 0.05, -0.05, 0.0999999, 0.1, 1.1]))
    y = ops.convert_to_numpy(losses.wing(x))
    assert y[0] == 0
    assert y[1] == y[2]
    assert y[3] == pytest.approx(y[4], abs=1e-5)
    assert y[5] - y[4] == pytest.approx(1.0, abs=1e-5)


def labels(box=(12, 36, 28, 52), class_id=1, landmarks=None, weight=1.0):
    points = np.full((1, 1, 5, 2), np.nan) if landmarks is None else landmarks
    return {
        "boxes": ops.convert_to_tensor(np.float32([[box]])),
        "class_id": ops.convert_to_tensor(np.int32([[class_id]])),
        "landmarks": ops.convert_to_tensor(np.float32(points)),
        "weight": ops.convert_to_tensor(np.float32([[weight]])),
    }


def perfect(box=(12, 36, 28, 52), class_id=1) -> np.ndarray:
    """Raw rows that predict one box exactly at the rows around its midpoint."""
    place, stride = cells(CONFIG.input_wh)
    middle, wh = np.float32([20, 44]), np.float32([16, 16])
    raw = np.full((1, len(place), 5 + 2 + 10), -12, np.float32)
    raw[0, :, :2] = middle / stride - place
    raw[0, :, 2:4] = np.log(wh / stride)
    near = np.abs((place + 0.5) * stride - middle).max(1) < 1.5 * stride[:, 0]
    raw[0, near, 4] = 12
    raw[0, near, 5 + class_id] = 12
    raw[0, :, 7:] = 0
    return raw


def total(raw, truth, **loss) -> dict[str, float]:
    parts = losses.yolo_loss(ops.convert_to_tensor(raw), truth, CONFIG, LossConfig(**loss))
    return {name: number(part) for name, part in parts.items()}


def test_a_perfect_answer_has_no_loss_of_box_and_class():
    parts = total(perfect(), labels())
    assert parts["box"] == pytest.approx(0, abs=1e-4)
    assert parts["class"] == pytest.approx(0, abs=1e-3)
    assert parts["points"] == 0  # unknown points cost nothing, and no NaN leaks


def test_a_wrong_class_and_a_shifted_box_cost():
    shifted = perfect()
    shifted[..., 0] += 0.5
    assert total(perfect(class_id=0), labels())["class"] > 5
    assert total(shifted, labels())["box"] > 0.3


def test_points_are_measured_in_sizes_of_the_face():
    middle = np.float32([20, 44])
    exact = np.tile(middle, (1, 1, 5, 1))
    assert total(perfect(), labels(landmarks=exact))["points"] == pytest.approx(0, abs=1e-5)
    off = exact + 1.6  # a tenth of the face
    expected = 4 * number(losses.wing(ops.convert_to_tensor(0.1)))
    assert total(perfect(), labels(landmarks=off))["points"] == pytest.approx(expected, rel=1e-3)


def test_an_empty_picture_still_teaches_background():
    parts = total(perfect(), labels(class_id=-1, weight=0.0))
    assert parts["object"] > 10
    assert parts["box"] == parts["class"] == parts["points"] == 0


def test_a_soft_label_wants_a_soft_score():
    sure, soft = total(perfect(), labels()), total(perfect(), labels(weight=0.5))
    assert soft["object"] > sure["object"]


@pytest.mark.parametrize("assignment", ["dynamic", "grid"])
def test_both_assignments_give_finite_losses(assignment):
    raw = np.random.default_rng(0).normal(0, 1, perfect().shape).astype(np.float32)
    assert all(np.isfinite(v) for v in total(raw, labels(), assignment=assignment).values())
