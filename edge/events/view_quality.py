"""How well an object is seen in a frame: large, sharp, whole and surely detected."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import FrameResult, YuvPicture

_SIDE_PX = 96  # of a crop whose sharpness is measured
_SHARP = 200.0  # variance of the Laplacian from which a crop counts as sharp
_AT_BORDER = 0.6  # of the quality remains where the picture cuts the object off
_BORDER_PX = 2


def measure_view(result: FrameResult, row: int, at_least: float = 0.0) -> float:
    """Quality of the view of a track in a frame, 0..1.

    The score of the detector, times the root of the share of the picture that its box takes, times
    its sharpness (variance of the Laplacian, Pech-Pacheco 2000), which counts half.

    Args:
        result: The frame.
        row: The row of the track.
        at_least: A quality below which the exact one does not matter.
    """
    width, height = result.frame.size_wh
    x1, y1, x2, y2 = result.tracks.xyxy[row].tolist()
    area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0) / (width * height)
    quality: float = float(result.tracks.score[row]) * min(area, 1.0) ** 0.5
    if x1 < _BORDER_PX or x2 > width - _BORDER_PX or y1 < _BORDER_PX:
        quality *= _AT_BORDER
    if quality <= at_least:
        return quality
    return quality * (0.5 + 0.5 * _measure_sharpness(result, (x1, y1, x2, y2)))


def _measure_sharpness(result: FrameResult, xyxy: tuple[float, float, float, float]) -> float:
    """0 for a blurred crop, 1 for a sharp one."""
    picture = result.frame.picture
    if isinstance(picture, YuvPicture):
        if picture.quarter_turns:
            return 0.5
        plane = picture.y
    else:
        plane = picture.rgb[..., 1]
    x1, y1, x2, y2 = (max(round(edge), 0) for edge in xyxy)
    crop = plane[y1:y2, x1:x2]
    if not crop.size:
        return 0.0
    scale = min(_SIDE_PX / max(crop.shape), 1.0)
    size_wh = max(round(crop.shape[1] * scale), 3), max(round(crop.shape[0] * scale), 3)
    small = cv2.resize(np.ascontiguousarray(crop), size_wh, interpolation=cv2.INTER_AREA)
    return min(float(cv2.Laplacian(small, cv2.CV_32F).var()) / _SHARP, 1.0)
