"""Attempts to log in: few a minute, few at a time."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_S = 60.0
MAX_PER_PAIR = 5  # of one address for one user
MAX_PER_HOST = 20  # of one address
KEPT = 4096  # addresses and pairs that are remembered


class LoginAttempts:
    """Counts attempts that failed, by address and by address and user.

    Whoever guesses from many addresses meets the cost of the hash; nobody can lock out somebody
    else who comes from another address.

    Args:
        clock: Seconds that never step back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    def wait_s(self, host: str, user: str) -> float:
        """How long an address must wait before it may try again for that user; 0 if it need not."""
        now_s = self._clock()
        waits = [0.0]
        for key, most in (((host,), MAX_PER_HOST), ((host, user), MAX_PER_PAIR)):
            times = self._failed.get(key, deque())
            while times and now_s - times[0] >= WINDOW_S:
                times.popleft()
            if len(times) >= most:
                waits.append(times[-most] + WINDOW_S - now_s)
        return max(waits)

    def count(self, host: str, user: str) -> None:
        """Count an attempt; call it before the password is looked at."""
        for key in ((host,), (host, user)):
            self._failed.setdefault(key, deque(maxlen=MAX_PER_HOST)).append(self._clock())
            self._failed.move_to_end(key)
        while len(self._failed) > KEPT:
            self._failed.popitem(last=False)

    def forgive(self, host: str, user: str) -> None:
        """Forget the attempts of who has logged in."""
        self._failed.pop((host, user), None)
