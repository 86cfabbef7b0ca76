"""An allowance: so much at once, and so much per second in the long run (a token bucket)."""

from __future__ import annotations

import time


class Allowance:
    """What may be spent.

    Args:
        burst: How much at once.
        per_s: How much comes back each second.
    """

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at_s = time.monotonic()

    def spend(self, amount: float, now_s: float) -> None:
        """Spend; more than is left becomes a debt."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s) - amount
        self._at_s = now_s

    def is_exhausted(self, now_s: float) -> bool:
        """Whether there is nothing left to spend."""
        return self._left + (now_s - self._at_s) * self._per_s <= 0
