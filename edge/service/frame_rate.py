"""Frame rates: how many captures there were, and how old."""

from __future__ import annotations

import statistics
from collections import deque

MEASURED = 32
FORGOTTEN_S = 3.0


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
