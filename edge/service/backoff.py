"""Backoff: how long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Delays between attempts.

    A camera that is unreachable is retried every second, because frames must arrive within two
    seconds after its return. One that refuses the login is retried ever more rarely, so that it
    does not lock the account.

    Args:
        rng: The source of jitter.
        short_s: The constant delay, before 20 % of jitter.
        max_s: The limit of the growing delay.
    """

    def __init__(self, rng: random.Random, short_s: float = 0.8, max_s: float = 30) -> None:
        self._rng = rng
        self._short_s = short_s
        self._max_s = max_s
        self._grown_s = short_s

    def reset(self) -> None:
        """Forget earlier failures."""
        self._grown_s = self._short_s

    def short(self) -> float:
        """The delay after an ordinary failure, in seconds."""
        return self._jitter(self._short_s)

    def growing(self) -> float:
        """The delay after a failure that a retry is unlikely to cure, in seconds."""
        delay_s = self._grown_s
        self._grown_s = min(2 * self._grown_s, self._max_s)
        return self._jitter(delay_s)

    def _jitter(self, delay_s: float) -> float:
        return delay_s * self._rng.uniform(0.8, 1.2)
