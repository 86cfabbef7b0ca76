"""Box crops: parts of a picture for classifiers, with a margin around them."""

from __future__ import annotations

import numpy as np

from edge.types import F32, U8, Picture, Placement
from edge.vision.preprocess import letterbox
from edge.vision.resize import crop


def cut_box(
    picture: Picture,
    xyxy: F32,
    size_wh: tuple[int, int],
    margin: float = 0.0,
    placement: Placement = Placement(),  # noqa: B008 - frozen
) -> U8:
    """Cut out a box ``(4,)``, enlarged by a margin, and letterbox it: ``(h, w, 3)`` uint8 RGB."""
    x1, y1, x2, y2 = round_box(enlarge(xyxy, margin, picture.size_wh), picture.size_wh)
    target = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    letterbox(crop(picture, x1, y1, x2, y2)[0], target, placement)
    return target


def enlarge(xyxy: F32, margin: float, size_wh: tuple[int, int]) -> F32:
    """A box with ``margin`` of its sides around it, half at each edge, within the picture."""
    size = xyxy[2:] - xyxy[:2]
    around = np.concatenate([xyxy[:2] - margin * size / 2, xyxy[2:] + margin * size / 2])
    limit = np.array([*size_wh, *size_wh], np.float32)
    return np.asarray(np.clip(around, 0, limit), np.float32)


def round_box(xyxy: F32, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in whole pixels, at least one of them, within the picture."""
    limit = np.array(size_wh)
    low = np.clip(np.round(xyxy[:2]).astype(int), 0, limit - 1)
    high = np.clip(np.round(xyxy[2:]).astype(int), low + 1, limit)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
