"""Region: a face and what is around it, cut from a picture at one small size."""

from __future__ import annotations

import numpy as np

from edge.types import F32, Picture
from edge.vision.resize import crop, resize_to_rgb

REACH = 1.4  # of the region, in heights of the face, to each side of its center
SIDE = 80  # of the region, pixels
SHOULDERS = 0.45  # heights of the face below its center, from where they may be seen
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def cut_region(picture: Picture, middle: np.ndarray, height: float) -> F32:
    """Luma of the region around a point, ``(SIDE, SIDE)``; NaN outside the picture."""
    reach, scale = REACH * height, SIDE / (2 * REACH * height)
    low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int)
    region = np.full((SIDE, SIDE), np.nan, np.float32)
    if (high <= 0).any() or (low >= picture.size_wh).any():
        return region
    part, corner = crop(picture, *low.tolist(), *high.tolist())
    size_wh = tuple(max(1, round(side * scale)) for side in part.size_wh)
    luma = measure_luma(part, (size_wh[0], size_wh[1]))
    x, y = (max(0, round(float(v))) for v in (corner - middle + reach) * scale)
    place = region[y : y + size_wh[1], x : x + size_wh[0]]
    place[:] = luma[: place.shape[0], : place.shape[1]]
    return region


def measure_luma(picture: Picture, size_wh: tuple[int, int] | None = None) -> F32:
    """``(h, w)`` float32, upright, of its own size or another."""
    rgb = resize_to_rgb(picture, size_wh or picture.size_wh)
    luma: F32 = rgb.astype(np.float32) @ _LUMA
    return luma
