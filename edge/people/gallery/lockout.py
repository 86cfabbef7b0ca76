"""Lockout: after failed challenges further attempts are refused for a while."""

from __future__ import annotations

from collections.abc import Sequence

from edge.errors import GalleryError
from edge.people.gallery.store import GalleryStore

AFTER = 3  # failures in a row
FIRST_LOCK_S, LONGEST_LOCK_S = 60.0, 3600.0


def compute_lock_s(failed_s: Sequence[float], now_s: float) -> float:
    """How long to wait: a minute after the third failure in a row, then twice as long each time.

    Args:
        failed_s: Unix seconds of the attempts since the last one that was passed, in order. An
            attempt that was broken off counts.
        now_s: Unix seconds; setting the clock back does not shorten the wait.
    """
    if len(failed_s) < AFTER:
        return 0.0
    lock_s = min(FIRST_LOCK_S * 2.0 ** min(len(failed_s) - AFTER, 10), LONGEST_LOCK_S)
    return max(0.0, lock_s - max(0.0, now_s - failed_s[-1]))


class ChallengeAttempts:
    """Attempts at live challenges, kept in the audit log so that a restart forgets none."""

    def __init__(self, store: GalleryStore) -> None:
        self._store = store

    def begin(self) -> None:
        """Record an attempt, failed until it is passed; a `GalleryError` if too many failed."""
        with self._store.database.writing():
            if wait_s := self._lock_s():
                raise GalleryError(f"too many challenges failed: try again in {wait_s:.0f} s")
            self._store.audit.append_challenge(self._store.clock(), passed=False)

    def mark_passed(self) -> None:
        """Record that the latest attempt is passed."""
        with self._store.database.writing():
            self._store.audit.append_challenge(self._store.clock(), passed=True)

    def lock_s(self) -> float:
        """Seconds for which attempts are still refused, or 0."""
        with self._store.database.reading():
            return self._lock_s()

    def _lock_s(self) -> float:
        self._store.audit.verify()
        failed_s: list[float] = []
        for at_s, passed in self._store.audit.challenges():
            failed_s = [] if passed else [*failed_s, at_s]
        return compute_lock_s(failed_s, self._store.clock())
