"""A straight line through what was measured, and how certain its slope is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 30  # points of a line: half an hour of minutes
_Z = 1.959964  # of the normal distribution, 95 %


@dataclass(frozen=True, slots=True)
class Trend:
    """A line.

    Attributes:
        begin: Its value at 0.
        slope: What it rises per unit.
        low: The lower end of the slope's interval of 95 %.
        high: The upper end.
    """

    begin: float
    slope: float
    low: float
    high: float


def fit_line(points: Sequence[tuple[float, float]]) -> Trend | None:
    """The least-squares line through points of even distances; None of too few of them.

    Neighbors resemble each other, which makes the interval wider: it is that of as many independent
    points as the correlation of neighboring residuals leaves (Bayley and Hammersley, 1946).
    """
    count = len(points)
    if count < FEWEST:
        return None
    x, y = np.array(points, np.float64).T
    slope, begin = np.polyfit(x, y, 1)
    rest = y - begin - slope * x
    total = float(rest @ rest)
    alike = float(rest[1:] @ rest[:-1]) / total if total > 0 else 0.0
    alike = min(max(alike, 0.0), 0.9)
    free = max(count * (1 - alike) / (1 + alike) - 2, 3.0)
    error = math.sqrt(total / free / float(np.square(x - x.mean()).sum()))
    half = _find_quantile(free) * error
    return Trend(float(begin), float(slope), float(slope - half), float(slope + half))


def _find_quantile(free: float) -> float:
    """Student's t, 97.5 %, of three degrees of freedom or more (Abramowitz and Stegun, 26.7.5)."""
    z = _Z
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / free + second / free**2 + third / free**3
