"""Which pictures of a stream are due at a frame rate."""

from __future__ import annotations


class FrameRateLimiter:
    """Selects the captures to run inference on.

    The due times lie on a grid, so that a camera of 25 frames per second that is limited to 10
    gives 10 on average, not 8.3. A silence longer than a period moves the grid.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._due_s = float("-inf")

    def is_due(self, at_s: float) -> bool:
        """Whether a capture at ``at_s`` (monotonic seconds) is due."""
        if at_s < self._due_s - 1e-3:
            return False
        late_s = at_s - self._due_s
        self._due_s = (self._due_s if late_s < self._period_s else at_s) + self._period_s
        return True
