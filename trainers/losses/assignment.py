"""Label assignment: which predicted row is responsible for which labeled box.

``grid`` is classic YOLO: the cell of the box's midpoint, and the anchor whose shape fits best.
``dynamic`` is SimOTA (Ge et al. 2021): every box takes its k cheapest rows, where k follows from
how well the rows fit already. Shapes are static and everything is ``keras.ops``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from keras import ops

from trainers.networks.backbone import Tensor
from trainers.networks.config import STRIDES, NetworkConfig
from trainers.networks.yolo import Decoded, cells

MAX_ROWS = 10  # per box; upper bound of SimOTA
CENTER_RADIUS = 1.5  # strides around the midpoint in which a row may be responsible
FAR = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """The rows that are responsible for a box.

    Attributes:
        positive: ``(B, A)`` float, 1 where a row is responsible for a box.
        box_row: ``(B, A)`` int32 index of the box; undefined where ``positive`` is 0.
        iou: ``(B, A)`` of the predicted box with its labeled box, 0 elsewhere.
        ignored: ``(B, A)`` float, 1 where a negative row fits some box too well to count as
            background.
    """

    positive: Tensor
    box_row: Tensor
    iou: Tensor
    ignored: Tensor


def pairwise_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """``(B, N, 4)``, ``(B, M, 4)`` -> ``(B, N, M)``; 0 where both are empty."""
    a, b = a_xyxy[:, :, None], b_xyxy[:, None]
    size = ops.maximum(ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2]), 0)
    overlap = size[..., 0] * size[..., 1]
    union = compute_area(a) + compute_area(b) - overlap
    return overlap / ops.maximum(union, 1e-9)


def compute_area(xyxy: Tensor) -> Tensor:
    """``(..., 4)`` -> ``(...)``."""
    return ops.prod(ops.maximum(xyxy[..., 2:] - xyxy[..., :2], 0), -1)


def gather_boxes(values: Tensor, box_row: Tensor) -> Tensor:
    """``(B, G, ...)`` and ``(B, A)`` -> ``(B, A, ...)``."""
    flat = ops.reshape(values, (-1, values.shape[1], int(np.prod(values.shape[2:] or (1,)))))
    rows = ops.take_along_axis(flat, box_row[..., None], 1)
    return ops.reshape(rows, (-1, box_row.shape[1], *values.shape[2:]))


def _ignored(overlap: Tensor, real: Tensor, positive: Tensor, above: float) -> Tensor:
    """Negative rows whose best overlap ``(B, G, A)`` with a real box exceeds ``above``."""
    best = ops.max(overlap * real[..., None], 1)
    return ops.cast(best > above, "float32") * (1 - positive)


# --- classic ----------------------------------------------------------------------------------


def responsible_row(boxes: Tensor, config: NetworkConfig) -> Tensor:
    """``(B, G, 4)`` xyxy network pixels -> ``(B, G)`` int32 index of the responsible raw row.

    The anchor of highest IoU in shape decides the stride; without anchors, the stride whose
    cell is nearest to a quarter of the box.
    """
    anchors = np.array(config.anchors_wh or [[(4.0 * s, 4.0 * s)] for s in STRIDES], np.float32)
    shapes, num_anchors = ops.convert_to_tensor(anchors.reshape(-1, 2)), anchors.shape[1]
    wh = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)[..., None, :]  # (B, G, 1, 2)
    overlap = ops.prod(ops.minimum(wh, shapes), -1)
    fit = overlap / (ops.prod(wh, -1) + ops.prod(shapes, -1) - overlap)  # (B, G, anchors)
    best = ops.cast(ops.top_k(fit, 1)[1][..., 0], "int32")  # argmax does not export
    level, anchor = best // num_anchors, best % num_anchors
    width, height = config.input_wh
    sides = np.array([(width // s, height // s) for s in STRIDES], np.int32)
    first = ops.convert_to_tensor(
        np.array([0, *np.cumsum(sides.prod(1) * num_anchors)[:-1]], np.int32)
    )
    across, down = ops.convert_to_tensor(sides[:, 0]), ops.convert_to_tensor(sides[:, 1])
    strides = ops.convert_to_tensor(np.array(STRIDES, np.float32))
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 / ops.take(strides, level)[..., None]
    middle = ops.cast(ops.floor(middle), "int32")
    column = ops.clip(middle[..., 0], 0, ops.take(across, level) - 1)
    row = ops.clip(middle[..., 1], 0, ops.take(down, level) - 1)
    return ops.take(first, level) + (row * ops.take(across, level) + column) * num_anchors + anchor


def assign_grid(
    predictions: Decoded, boxes: Tensor, class_id: Tensor, config: NetworkConfig
) -> Match:
    """Classic YOLO: one row per box. A row that two boxes claim goes to the later one."""
    real = ops.cast(class_id >= 0, "float32")  # (B, G)
    rows = predictions.xyxy.shape[1]
    wants = ops.one_hot(responsible_row(boxes, config), rows) * real[..., None]  # (B, G, A)
    positive = ops.max(wants, 1)
    order = ops.arange(1, boxes.shape[1] + 1, dtype="float32")[:, None]
    box_row = ops.cast(ops.max(wants * order, 1) - 1, "int32")
    box_row = ops.maximum(box_row, 0)
    overlap = pairwise_iou(boxes, predictions.xyxy)  # (B, G, A)
    iou = ops.sum(overlap * wants, 1) / ops.maximum(ops.sum(wants, 1), 1)
    return Match(positive, box_row, iou, _ignored(overlap, real, positive, 0.5))


# --- dynamic ----------------------------------------------------------------------------------


def assign_dynamic(
    predictions: Decoded, boxes: Tensor, class_id: Tensor, config: NetworkConfig
) -> Match:
    """SimOTA: each box takes the k rows of least cost, k being the sum of its best overlaps.

    cost = cross-entropy of the square root of the score against the box's class
    + 3 * -log(IoU), for rows whose cell lies within ``CENTER_RADIUS`` strides of the box's center.
    A row that two boxes claim
    goes to the cheaper one.
    """
    real = ops.cast(class_id >= 0, "float32")  # (B, G)
    allowed = _near_middle(boxes, config) * real[..., None]  # (B, G, A)
    overlap = pairwise_iou(boxes, predictions.xyxy)  # (B, G, A)
    cost = _class_cost(predictions, class_id, len(config.classes)) - 3 * ops.log(overlap + 1e-8)
    cost = cost + FAR * (1 - allowed)
    most = min(MAX_ROWS, predictions.xyxy.shape[1])
    k = ops.sum(ops.top_k(overlap * allowed, most)[0], -1)
    k = ops.clip(ops.cast(k, "int32"), 1, most)  # (B, G)
    cheapest = -ops.top_k(-cost, most)[0]  # (B, G, most), rising
    limit = ops.take_along_axis(cheapest, k[..., None] - 1, -1)  # (B, G, 1)
    wants = ops.cast(cost <= limit, "float32") * allowed
    price = ops.where(wants > 0, cost, 2 * FAR)
    box_row = ops.cast(ops.top_k(-ops.transpose(price, (0, 2, 1)), 1)[1][..., 0], "int32")
    positive = ops.max(wants, 1)
    iou = ops.take_along_axis(ops.transpose(overlap, (0, 2, 1)), box_row[..., None], -1)[..., 0]
    return Match(positive, box_row, iou * positive, ops.zeros_like(positive))


def _near_middle(boxes: Tensor, config: NetworkConfig) -> Tensor:
    """``(B, G, A)`` 1 where a row's cell is near the box's midpoint."""
    place, stride = map(ops.convert_to_tensor, cells(config.input_wh, config.num_anchors))
    center = (place + 0.5) * stride  # (A, 2)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, G, 2)
    away = ops.max(ops.abs(middle[:, :, None] - center), -1)
    return ops.cast(away < CENTER_RADIUS * stride[:, 0], "float32")


def _class_cost(predictions: Decoded, class_id: Tensor, count: int) -> Tensor:
    """``(B, G, A)`` cross-entropy of the root of the score against each box's class."""
    p = ops.clip(ops.sqrt(predictions.score), 1e-6, 1 - 1e-6)  # (B, A, C)
    yes, no = -ops.log(p), -ops.log(1 - p)
    kind = ops.one_hot(ops.maximum(class_id, 0), count)  # (B, G, C)
    swap = ops.matmul(kind, ops.transpose(yes - no, (0, 2, 1)))
    return swap + ops.sum(no, -1)[:, None]


ASSIGNERS: dict[str, Callable[[Decoded, Tensor, Tensor, NetworkConfig], Match]] = {
    "dynamic": assign_dynamic,
    "grid": assign_grid,
}
