"""Timing: how long calls take on a machine whose other load comes and goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """How long each of several calls took.

    Attributes:
        seconds: ``(R, C)`` rounds of C calls, one after another within a round.
    """

    seconds: np.ndarray

    def median_s(self, call: int) -> float:
        """Median time of a call."""
        return float(np.median(self.seconds[:, call]))

    def percentile_s(self, call: int, percent: float) -> float:
        """A percentile of the time of a call."""
        return float(np.percentile(self.seconds[:, call], percent))

    def speed(self, call: int) -> float:
        """How many times as fast as the first call: the median over the rounds."""
        return float(np.median(self.seconds[:, 0] / self.seconds[:, call]))


def time_in_turn(
    calls: Sequence[Call], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Time calls in turn, so that a machine that slows down meanwhile slows all of them.

    Each is called once before it counts. The clock ``time.thread_time`` does not see other load.
    """
    for call in calls:
        call()
    seconds = np.empty((rounds, len(calls)))
    for row in seconds:
        for column, call in enumerate(calls):
            started_s = clock()
            call()
            row[column] = clock() - started_s
    return Times(seconds)
