"""Ids of events."""

from __future__ import annotations

import random
import threading

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, without i, l, o and u
_TIME_DIGITS, _SALT_DIGITS = 7, 3
_SALTS = 32**_SALT_DIGITS


class EventIds:
    """Makes ids of ten characters that grow with time, such as ``1nj3k5vk4d``.

    Seven characters are the Unix time in seconds, which suffices until the year 3058; three are
    random, and count up within a second. Safe to call from any thread.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self._last = -1

    def make(self, at_s: float) -> str:
        """The id of an event that begins at a Unix time; greater than all that were made before."""
        with self._lock:
            self._last = max(
                max(int(at_s), 0) * _SALTS + self._rng.randrange(_SALTS // 2), self._last + 1
            )
            return encode(self._last, _TIME_DIGITS + _SALT_DIGITS)


def encode(number: int, digits: int) -> str:
    """A number in base 32."""
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
