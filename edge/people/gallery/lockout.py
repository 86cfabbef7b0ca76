"""Lockout: after failed challenges nobody may try again for a while."""

from __future__ import annotations

from collections.abc import Sequence

AFTER = 3  # failures in a row
FIRST_LOCK_S, LONGEST_LOCK_S = 60.0, 3600.0


def locked_s(failed_s: Sequence[float], now_s: float) -> float:
    """How long nobody may try: a minute after the third failure in a row, then twice as long.

    Args:
        failed_s: Unix seconds of the attempts since the last one that was passed, in order. One
            that was broken off counts.
        now_s: Unix seconds; a clock that was set back wins nothing.
    """
    if len(failed_s) < AFTER:
        return 0.0
    lock_s = min(FIRST_LOCK_S * 2.0 ** min(len(failed_s) - AFTER, 10), LONGEST_LOCK_S)
    return max(0.0, lock_s - max(0.0, now_s - failed_s[-1]))
