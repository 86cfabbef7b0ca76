"""A metric with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric with its 95 % interval, NaN where there is none.

    Attributes:
        n: Number of units (pictures, groups, pairs, searches, presentations) it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"
