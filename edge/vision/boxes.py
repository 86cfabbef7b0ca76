"""Boxes: the only box arithmetic in the repository.

All functions take and return ``(N, 4)`` xyxy; another format is in the name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, I32, I64

TINY = np.finfo(np.float32).tiny


def area(xyxy: F32) -> F32:
    """``(N, 4)`` -> ``(N,)``; an inverted box has area 0."""
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    product: F32 = size[:, 0] * size[:, 1]
    return product


def intersection(a_xyxy: F32, b_xyxy: F32) -> F32:
    """``(N, 4)``, ``(M, 4)`` -> ``(N, M)`` area of overlap."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    size = np.maximum(high - low, 0)  # (N, M, 2)
    product: F32 = size[..., 0] * size[..., 1]
    return product


def iou(a_xyxy: F32, b_xyxy: F32) -> F32:
    """Intersection over union, ``(N, 4)``, ``(M, 4)`` -> ``(N, M)``; 0 where both are empty."""
    overlap = intersection(a_xyxy, b_xyxy)
    union = area(a_xyxy)[:, None] + area(b_xyxy)[None, :] - overlap
    ratio: F32 = overlap / np.maximum(union, TINY)  # an empty pair overlaps by 0
    return ratio


def paired_iou(a_xyxy: F32, b_xyxy: F32) -> F32:
    """Intersection over union of each box with the one in the same row, ``(N,)``."""
    overlap = _intersect_pairs(a_xyxy, b_xyxy)
    ratio: F32 = overlap / np.maximum(area(a_xyxy) + area(b_xyxy) - overlap, TINY)
    return ratio


def paired_containment(inner_xyxy: F32, outer_xyxy: F32) -> F32:
    """Fraction of each inner box inside the outer one in the same row, ``(N,)``."""
    overlap = _intersect_pairs(inner_xyxy, outer_xyxy)
    inner_area = area(inner_xyxy)
    return np.divide(overlap, inner_area, out=np.zeros_like(overlap), where=inner_area > 0)


def _intersect_pairs(a_xyxy: F32, b_xyxy: F32) -> F32:
    low = np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    size = np.maximum(np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - low, 0)
    overlap: F32 = size[:, 0] * size[:, 1]
    return overlap


def containment(inner_xyxy: F32, outer_xyxy: F32) -> F32:
    """Fraction of each inner box inside each outer box, ``(N, M)`` in [0, 1]."""
    inner_area = area(inner_xyxy)[:, None]
    overlap = intersection(inner_xyxy, outer_xyxy)
    return np.divide(overlap, inner_area, out=np.zeros_like(overlap), where=inner_area > 0)


def clip(xyxy: F32, size_wh: tuple[int, int]) -> F32:
    """Clip boxes to an image of ``size_wh`` pixels."""
    limit = np.array([*size_wh, *size_wh], np.float32)
    return np.clip(xyxy, 0, limit).astype(np.float32)


def xyxy_to_cxcywh(xyxy: F32) -> F32:
    """Corners -> center and size."""
    cxcywh = np.empty((len(xyxy), 4), np.float32)
    low, high = xyxy[:, :2], xyxy[:, 2:]
    np.subtract(high, low, out=cxcywh[:, 2:])
    np.add(low, high, out=cxcywh[:, :2])
    cxcywh[:, :2] /= 2
    return cxcywh


def cxcywh_to_xyxy(cxcywh: NDArray[np.floating], growth: float = 1) -> F32:
    """Center and size, times ``growth`` in width and height -> corners."""
    half = cxcywh[:, 2:] * (growth / 2)
    xyxy = np.empty((len(cxcywh), 4), np.float32)
    np.subtract(cxcywh[:, :2], half, out=xyxy[:, :2], casting="same_kind")
    np.add(cxcywh[:, :2], half, out=xyxy[:, 2:], casting="same_kind")
    return xyxy


def locate_feet(xyxy: F32, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Foot points (bottom centers), ``(N, 4)`` -> ``(N, 2)`` x y as fractions of the image.

    They are clipped slightly inside the image, so that a box that ends at the lower edge is in a
    zone that is drawn down to that edge.
    """
    foot = np.empty((len(xyxy), 2))
    foot[:, 0] = xyxy[:, 0] + xyxy[:, 2]
    foot[:, 1] = xyxy[:, 3]
    foot /= (2 * size_wh[0], size_wh[1])
    return np.clip(foot, 0, 1 - 1e-6, out=foot)


def nms(xyxy: F32, score: F32, class_id: I32, iou_threshold: float) -> I64:
    """Greedy class-aware non-maximum suppression, by brute force: the reference.

    Boxes are visited by descending score, equal scores in the given order. A box is kept when no
    kept box of its class overlaps it by more than ``iou_threshold``.

    Returns:
        ``(R,)`` int64 indices of the kept boxes by descending score.
    """
    order = np.argsort(-score, kind="stable")
    overlap = iou(xyxy, xyxy)
    kept: list[int] = []
    for row in order:
        same_class = [k for k in kept if class_id[k] == class_id[row]]
        if not np.any(overlap[row, same_class] > iou_threshold):
            kept.append(int(row))
    return np.array(kept, np.int64)
