"""Wide crops: a face with what surrounds it, where a screen's edge or a sheet of paper shows."""

from __future__ import annotations

import numpy as np

from edge.types import F32, U8, Picture
from edge.vision.preprocess import crop, scaled_rgb


def wide_box(xyxy: F32, scale: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """A face's box, ``scale`` times as large around its centre, moved into the picture.

    One that is larger than the picture shrinks, keeping its aspect, until it fits: as MiniFASNet
    cuts its crops (minivision-ai/Silent-Face-Anti-Spoofing, generate_patches.py).

    Args:
        xyxy: ``(4,)`` float32, pixels of the picture.
        scale: of width and height.
        size_wh: the picture's.

    Returns:
        Whole pixels, x1 y1 x2 y2, the last ones excluded.
    """
    limit = np.array(size_wh, np.float64)
    low, high = xyxy[:2].astype(np.float64), xyxy[2:].astype(np.float64)
    size = np.maximum(high - low, 1)
    size = size * min(scale, *((limit - 1) / size))
    corner = np.clip((low + high - size) / 2, 0, limit - 1 - size)
    x1, y1 = corner.astype(int).tolist()
    x2, y2 = (corner + size).astype(int).tolist()
    return x1, y1, x2 + 1, y2 + 1


def wide_crop(picture: Picture, xyxy: F32, scale: float, size_wh: tuple[int, int]) -> U8:
    """The wide crop of a face as ``(h, w, 3)`` uint8 RGB; black for a box that is not finite.

    Args:
        picture: any size.
        xyxy: ``(4,)`` float32, the face in pixels of the picture.
        scale: side of the crop, in sides of the face.
        size_wh: width and height of the result; the aspect of the face is not kept.
    """
    if not np.isfinite(xyxy).all():
        return np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    part, _ = crop(picture, *wide_box(xyxy, scale, picture.size_wh))
    return scaled_rgb(part, size_wh)
