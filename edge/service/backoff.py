"""Backoff: how long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Delays between tries.

    A camera that is merely away is asked again every second, for it must be back within two;
    one that refuses us is asked ever more rarely, so that it does not lock us out.

    Args:
        rng: source of jitter.
        short_s: the constant delay, before 20 % of jitter.
        longest_s: where the growing delay ends.
    """

    def __init__(self, rng: random.Random, short_s: float = 0.8, longest_s: float = 30) -> None:
        self._rng = rng
        self._short_s = short_s
        self._longest_s = longest_s
        self._grown_s = short_s

    def reset(self) -> None:
        """Forget earlier failures."""
        self._grown_s = self._short_s

    def short(self) -> float:
        """Seconds to wait after an ordinary failure."""
        return self._jitter(self._short_s)

    def growing(self) -> float:
        """Seconds to wait after a failure that trying again will hardly cure."""
        delay_s = self._grown_s
        self._grown_s = min(2 * self._grown_s, self._longest_s)
        return self._jitter(delay_s)

    def _jitter(self, delay_s: float) -> float:
        return delay_s * self._rng.uniform(0.8, 1.2)
