"""Flaps: connections that come and go, summed up instead of told one by one."""

from __future__ import annotations

import time
from collections.abc import Callable

STEADY_S = 30.0  # a connection that lasts as long is no flap
FEW = 4  # flaps in a row are told one by one
TELL_EVERY_S = 60.0


class FlapMeter:
    """Counts connections in a row that ended within half a minute.

    Args:
        clock: Monotonic seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self._first_s = 0.0
        self._began_s: float | None = None
        self._told_s = float("-inf")

    def begin(self) -> None:
        """A connection gave its first picture."""
        self._began_s = self._clock()
        if not self._count:
            self._first_s = self._began_s

    def end(self) -> bool:
        """It broke; whether that was a flap."""
        began_s, self._began_s = self._began_s, None
        if began_s is None:
            return False
        if self._clock() - began_s >= STEADY_S:
            self._count = 0
            return False
        self._count += 1
        return True

    def is_flapping(self) -> bool:
        """Whether there were many in a row, and the present connection is still young."""
        if self._began_s is not None and self._clock() - self._began_s >= STEADY_S:
            self._count = 0
            self._told_s = float("-inf")
        return self._count >= FEW

    def is_due(self) -> bool:
        """Whether a summary is due: one a minute."""
        if self._clock() - self._told_s < TELL_EVERY_S:
            return False
        self._told_s = self._clock()
        return True

    def describe(self) -> str:
        """``flaps: 12 connections in 3 minutes``."""
        minutes = max(1, round((self._clock() - self._first_s) / 60))
        return f"flaps: {self._count} connections in {minutes} minute{'s' if minutes > 1 else ''}"
