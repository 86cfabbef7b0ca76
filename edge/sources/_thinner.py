"""Leaves out the pictures of a stream that come sooner than they are asked for."""

from __future__ import annotations

import math

from edge.frame_rate_limiter import FrameRateLimiter


class Thinner:
    """Decides for the pictures of one connection, in their order.

    Attributes:
        passed: Pictures so far that were not due.
    """

    def __init__(self) -> None:
        self.passed = 0
        self._max_fps = math.inf
        self._limiter: FrameRateLimiter | None = None

    def is_due(self, at_s: float, max_fps: float) -> bool:
        """Whether a picture at ``at_s`` (monotonic seconds) is due at ``max_fps``."""
        if max_fps != self._max_fps:
            self._max_fps = max_fps
            self._limiter = FrameRateLimiter(max_fps) if max_fps < math.inf else None
        is_due = self._limiter is None or self._limiter.is_due(at_s)
        self.passed += not is_due
        return is_due
