"""Drawing: boxes, labels and landmarks on a copy of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.errors import ConfigError, EdgeError
from edge.types import F32, U8

_PALETTE = ((52, 152, 219), (231, 76, 60), (46, 204, 113), (241, 196, 15), (155, 89, 182))
_FACE = (255, 255, 255)


def draw(rgb: U8, xyxy: F32, labels: Sequence[str], faces_xyxy: F32, landmarks: F32) -> U8:
    """Mark ``(N, 4)`` objects with N labels, and ``(M, 4)`` faces with ``(M, 5, 2)`` landmarks.

    Returns:
        A copy of ``rgb``, ``(H, W, 3)`` uint8 RGB; boxes and landmarks are in its pixels.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(1, round(max(canvas.shape) / 500))
    for box, label in zip(xyxy, labels, strict=True):
        color = _PALETTE[sum(label.split(" ")[0].encode()) % len(_PALETTE)]
        _rectangle(canvas, box, color, thickness)
        _caption(canvas, box, label, color, thickness)
    for box, points in zip(faces_xyxy, landmarks, strict=True):
        _rectangle(canvas, box, _FACE, thickness)
        for x, y in points:
            cv2.circle(canvas, (round(x), round(y)), thickness + 1, _FACE, -1, cv2.LINE_AA)
    return canvas


def require_format(path: Path) -> None:
    """Refuse a path whose suffix names no format that OpenCV writes, before there is a picture.

    Raises:
        ConfigError: It names none.
    """
    if not (path.suffix and cv2.haveImageWriter(str(path))):
        raise ConfigError("OpenCV cannot write this format: use .png or .jpg", file=path)


def save_picture(rgb: U8, path: Path) -> None:
    """Write an ``(H, W, 3)`` RGB picture in the format of the path's suffix.

    Raises:
        EdgeError: The folder is missing or full, or the suffix is unknown.
    """
    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise EdgeError("OpenCV cannot write this format: use .png or .jpg", file=path) from error
    if not written:
        raise EdgeError("the picture cannot be written: check the folder and free space", file=path)


def _rectangle(canvas: U8, box: F32, color: tuple[int, int, int], thickness: int) -> None:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness, cv2.LINE_AA)


def _caption(canvas: U8, box: F32, label: str, color: tuple[int, int, int], thickness: int) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.35 * thickness + 0.1
    (width, height), base = cv2.getTextSize(label, font, scale, thickness)
    x, y = round(float(box[0])), max(round(float(box[1])), height + base)
    cv2.rectangle(canvas, (x, y - height - base), (x + width, y), color, -1)
    cv2.putText(canvas, label, (x, y - base // 2), font, scale, (0, 0, 0), thickness, cv2.LINE_AA)
