"""Losses: object (logistic), classes (cross-entropy), boxes (IoU) and points (wing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras import ops

from trainers.losses import assignment as assign
from trainers.networks.backbone import Tensor
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import decode


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the parts of the loss.

    Attributes:
        assignment: ``assign_dynamic`` (SimOTA) or ``assign_grid`` (classic).
        box: ``giou`` has a gradient for boxes that do not touch; ``iou`` is the squared form of
            YOLOX.
        box_weight: Raising it favors tight boxes over calibrated scores.
    """

    assignment: Literal["dynamic", "grid"] = "dynamic"
    box: Literal["giou", "iou"] = "giou"
    box_weight: float = 5.0
    class_weight: float = 1.0
    object_weight: float = 1.0
    points_weight: float = 4.0


def logistic(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with logits, elementwise, safe for large logits."""
    return ops.maximum(logit, 0) - logit * target + ops.log1p(ops.exp(-ops.abs(logit)))


def box_loss(a_xyxy: Tensor, b_xyxy: Tensor, kind: str = "giou") -> Tensor:
    """``(..., 4)`` twice -> ``(...)``: 1 - GIoU (Rezatofighi et al. 2019), or 1 - IoU squared."""
    low = ops.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = ops.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    overlap = ops.prod(ops.maximum(high - low, 0), -1)
    union = assign.compute_area(a_xyxy) + assign.compute_area(b_xyxy) - overlap
    iou = overlap / ops.maximum(union, 1e-9)
    if kind == "iou":
        return 1 - iou * iou
    low = ops.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = ops.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    hull = ops.prod(high - low, -1)
    return 1 - iou + (hull - union) / ops.maximum(hull, 1e-9)


def wing(error: Tensor, width: float = 0.1, bend: float = 0.02) -> Tensor:
    """Wing loss (Feng et al. 2018), elementwise: steep for small errors, linear from ``width`` on.

    Raising ``bend`` flattens the steep part.
    """
    size = ops.abs(error)
    near = width * ops.log(1 + size / bend)
    offset = width - width * ops.log(1 + ops.convert_to_tensor(width / bend, near.dtype))
    return ops.where(size < width, near, size - offset)


def yolo_loss(
    raw: Tensor, labels: dict[str, Tensor], config: NetworkConfig, loss: LossConfig
) -> dict[str, Tensor]:
    """The weighted parts of the loss, whose sum is minimized.

    Args:
        raw: ``(B, A, 5 + C [+ 10])`` raw rows.
        labels: A `Batch` of the input pipeline, without its images.
        config: The network.
        loss: The weights.

    Returns:
        ``box``, ``object``, ``class`` and, for faces, ``points``: scalars.
    """
    predictions = decode(raw, config)
    labels = {name: ops.convert_to_tensor(column) for name, column in labels.items()}
    boxes, class_id = labels["boxes"], ops.cast(labels["class_id"], "int32")
    match = assign.ASSIGNERS[loss.assignment](predictions, boxes, class_id, config)
    match = assign.Match(*(ops.stop_gradient(getattr(match, f)) for f in match.__slots__))
    weight = assign.gather_boxes(labels["weight"], match.box_row) * match.positive  # (B, A)
    count = ops.maximum(ops.sum(weight), 1.0)
    target = assign.gather_boxes(boxes, match.box_row)  # (B, A, 4)
    parts = {"box": loss.box_weight * box_loss(predictions.xyxy, target, loss.box) * weight}
    counted = 1 - match.ignored
    parts["object"] = loss.object_weight * logistic(predictions.object_logit, weight) * counted
    kind = assign.gather_boxes(class_id, match.box_row)
    kind = ops.one_hot(ops.maximum(kind, 0), len(config.classes)) * _class_target(match, loss)
    classes = ops.sum(logistic(predictions.class_logit, kind), -1)
    parts["class"] = loss.class_weight * classes * weight
    if config.landmarks:
        points = _points(predictions.points, labels, match, target)
        parts["points"] = loss.points_weight * points * weight
    return {name: ops.sum(part) / count for name, part in parts.items()}


def _class_target(match: assign.Match, loss: LossConfig) -> Tensor:
    """Class targets equal the overlap (YOLOX), so that scores rank boxes by fit."""
    iou = match.iou if loss.assignment == "dynamic" else match.positive
    return iou[..., None]


def _points(points: Tensor, labels: dict[str, Tensor], match: assign.Match, box: Tensor) -> Tensor:
    """``(B, A)`` mean wing loss of the known points, in sizes of the face."""
    truth = assign.gather_boxes(labels["landmarks"], match.box_row)  # (B, A, 5, 2)
    known = ops.cast(truth == truth, "float32")  # NaN is unknown
    truth = ops.where(known > 0, truth, ops.zeros_like(truth))
    size = ops.sqrt(ops.maximum(assign.compute_area(box), 1.0))[..., None, None]
    error = ops.where(known > 0, (points - truth) / size, ops.zeros_like(truth))
    return ops.sum(wing(error), (-1, -2)) / ops.maximum(ops.sum(known, (-1, -2)), 1.0)
