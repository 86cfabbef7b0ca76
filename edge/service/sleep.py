"""Sleep: a camera before which nothing happens, whose stream need not be decoded whole."""

from __future__ import annotations

import math

from edge.types import FrameResult, Look

FALLS_ASLEEP_S = 2.0


class Sleep:
    """Knows whether a camera is asleep: for a while nothing moved, and nobody was followed."""

    def __init__(self) -> None:
        self._quiet_since_s: float | None = None  # on the frames' clock
        self._woken_s = -math.inf

    def note(self, result: FrameResult) -> None:
        """Take a result into account; from any thread."""
        if result.followed or result.look not in (Look.NONE, Look.INTERVAL):
            self.wake(max(result.frame.monotonic_s, self._woken_s))
        elif self._quiet_since_s is None and result.frame.monotonic_s >= self._woken_s:
            self._quiet_since_s = result.frame.monotonic_s

    def wake(self, at_s: float = -math.inf) -> None:
        """Something happened at ``at_s``: results of frames before it say nothing any more."""
        self._quiet_since_s = None
        self._woken_s = at_s

    def is_asleep(self, now_s: float) -> bool:
        """Whether nothing has happened for long enough before ``now_s``, on the frames' clock."""
        since_s = self._quiet_since_s
        return since_s is not None and now_s - since_s >= FALLS_ASLEEP_S
