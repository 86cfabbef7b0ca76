"""Thumbnails: small JPEGs of a camera's picture at a limited rate."""

from __future__ import annotations

import math

import cv2

from edge.types import Frame
from edge.vision.resize import resize_to_rgb


class JpegSampler:
    """Makes JPEGs of one camera at a limited rate and size; the first frame gives one.

    Args:
        rate_hz: Maximum number of JPEGs per second, by the frames' monotonic clock; 0 is none.
        max_px: Longest side; smaller pictures keep their size.
    """

    def __init__(self, rate_hz: float, max_px: int = 320, quality: int = 80) -> None:
        self._period_s = 1 / rate_hz if rate_hz > 0 else math.inf
        self._due_s = -math.inf if rate_hz > 0 else math.inf
        self._max_px = max_px
        self._quality = quality

    def sample(self, frame: Frame) -> bytes | None:
        """The frame as JPEG if one is due, else None."""
        now_s = frame.monotonic_s
        if now_s < self._due_s:
            return None
        late_s = now_s - self._due_s  # small delays are made up for, so that the mean rate is kept
        self._due_s = now_s + self._period_s - (late_s if late_s < self._period_s else 0)
        return self._encode(frame)

    def _encode(self, frame: Frame) -> bytes:
        width, height = frame.size_wh
        scale = min(1.0, self._max_px / max(width, height))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        bgr = cv2.cvtColor(resize_to_rgb(frame.picture, size_wh), cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return jpeg.tobytes()
