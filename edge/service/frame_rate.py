"""Frame rates: which captures are due at a camera's fps, how many there were, and how old."""

from __future__ import annotations

import statistics
from collections import deque

MEASURED = 32
FORGOTTEN_S = 3.0


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


class RateMeter:
    """Measures how often something happens, over the last ``MEASURED`` times."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MEASURED)

    def count(self, at_s: float) -> None:
        """It happened at a moment of the monotonic clock."""
        self._times.append(at_s)

    def measure(self, now_s: float) -> float:
        """How often a second; 0 before the second time, and where it was long ago."""
        times = tuple(self._times)
        span_s = times[-1] - times[0] if times else 0.0
        if span_s <= 0:
            return 0.0
        rate_hz = (len(times) - 1) / span_s
        return rate_hz if now_s - times[-1] < FORGOTTEN_S + 2 / rate_hz else 0.0


class AgeMeter:
    """Remembers how old the last ``MEASURED`` frames were when their results were there."""

    def __init__(self) -> None:
        self._ages_s: deque[float] = deque(maxlen=MEASURED)

    def note(self, age_s: float) -> None:
        """A frame was that old, in seconds."""
        self._ages_s.append(age_s)

    def measure(self) -> tuple[float, float] | None:
        """The median and the largest one, in seconds; None before the first frame."""
        ages_s = tuple(self._ages_s)
        return (statistics.median(ages_s), max(ages_s)) if ages_s else None
