"""Thumbnails: now and then a small JPEG of a camera's picture."""

from __future__ import annotations

import math

import cv2

from edge.types import Frame
from edge.vision.resize import resize_to_rgb


class JpegSampler:
    """Makes JPEGs of one camera at a bounded rate and size."""

    def __init__(self, rate_hz: float, max_px: int = 320, quality: int = 80) -> None:
        """Make the first frame a picture.

        Args:
            rate_hz: at most so many a second, by the frames' monotonic clock; 0 makes none.
            max_px: longest side; smaller pictures keep their size.
            quality: 1 to 100.
        """
        self._period_s = 1 / rate_hz if rate_hz > 0 else math.inf
        self._due_s = -math.inf if rate_hz > 0 else math.inf
        self._max_px = max_px
        self._quality = quality

    def sample(self, frame: Frame) -> bytes | None:
        """The frame as JPEG when one is due, else None."""
        now_s = frame.monotonic_s
        if now_s < self._due_s:
            return None
        late_s = now_s - self._due_s  # a small lateness is made up for, so that the rate holds
        self._due_s = now_s + self._period_s - (late_s if late_s < self._period_s else 0)
        return self._jpeg(frame)

    def _jpeg(self, frame: Frame) -> bytes:
        width, height = frame.size_wh
        scale = min(1.0, self._max_px / max(width, height))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        bgr = cv2.cvtColor(resize_to_rgb(frame.picture, size_wh), cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return jpeg.tobytes()
