"""Anchors: prior box shapes, by k-means with the distance 1 - IoU."""

from __future__ import annotations

import numpy as np

from edge.errors import ConfigError
from edge.types import F32
from trainers.networks.config import STRIDES

PER_STRIDE = 3


def shape_iou(a_wh: F32, b_wh: F32) -> F32:
    """IoU of boxes laid corner on corner: ``(N, 2)``, ``(M, 2)`` w h -> ``(N, M)``."""
    overlap = np.minimum(a_wh[:, None], b_wh[None]).prod(-1)
    union = a_wh.prod(-1)[:, None] + b_wh.prod(-1)[None] - overlap
    return np.asarray(overlap / np.maximum(union, 1e-9), np.float32)


def k_means(wh: F32, k: int, seed: int = 0, rounds: int = 300) -> F32:
    """``(N, 2)`` box sizes -> ``(k, 2)`` anchors by rising area (Redmon & Farhadi 2017).

    Centers are medians, which are robust to a few huge boxes; an empty cluster starts again
    from the box that fits worst.

    Raises:
        ConfigError: There are fewer than ``k`` boxes of different size.
    """
    wh = wh[(wh > 0).all(1)].astype(np.float32)
    if len(np.unique(wh, axis=0)) < k:
        raise ConfigError(
            f"{k} anchors need {k} boxes of different size, got {len(np.unique(wh, axis=0))}: "
            "label more, or use the anchor-free head"
        )
    rng = np.random.default_rng(seed)
    centers = _spread(wh, k, rng)
    nearest = np.full(len(wh), -1)
    for _ in range(rounds):
        fit = shape_iou(wh, centers)
        now = fit.argmax(1)
        if (now == nearest).all():
            break
        nearest = now
        for i in range(k):
            mine = wh[nearest == i]
            centers[i] = np.median(mine, 0) if len(mine) else wh[fit.max(1).argmin()]
    return centers[np.argsort(centers.prod(1), kind="stable")]


def _spread(wh: F32, k: int, rng: np.random.Generator) -> F32:
    """First centers far apart, as k-means++ draws them."""
    centers = [wh[rng.integers(len(wh))]]
    for _ in range(k - 1):
        far = (1 - shape_iou(wh, np.stack(centers)).max(1)).astype(np.float64) ** 2
        share = far / far.sum() if far.sum() > 0 else None
        centers.append(wh[rng.choice(len(wh), p=share)])
    return np.stack(centers)


def fit_anchors(wh: F32, seed: int = 0) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Three anchors for each stride, small ones first: ``NetworkConfig.anchors_wh``.

    The box sizes ``(N, 2)`` are in network pixels.
    """
    found = k_means(wh, PER_STRIDE * len(STRIDES), seed).reshape(len(STRIDES), PER_STRIDE, 2)
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in found)
