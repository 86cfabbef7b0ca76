"""Lease time: the latest time that was seen under a lease, so that no clock makes it longer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Final

from edge.errors import GalleryError
from edge.people.gallery.membership import SLACK_S, Lease

KEEP_EVERY_S: Final = 60.0


class LeaseTime:
    """Follows the clock while a gallery is open, and has the gallery remember it once a minute.

    Args:
        keep: Writes the latest time into the gallery, where it can be written.
    """

    def __init__(self, keep: Callable[[Lease], None]) -> None:
        self._keep = keep
        self._lease: Lease | None = None
        self._due_s = math.inf

    def take(self, lease: Lease, now_s: float) -> Lease:
        """The gallery's lease with the latest time that was seen under it, ``now_s`` included."""
        known = self._lease
        seen = lease if known is None or known.order != lease.order else lease.see(known.seen_s)
        self._lease = seen.see(now_s)
        self._due_s = _find_due(lease)
        return self._lease

    def see(self, now_s: float) -> float:
        """Note the time; the earliest time that is credible after it, both Unix seconds."""
        if self._lease is None:
            return -math.inf
        lease = self._lease = self._lease.see(now_s)
        if lease.seen_s >= self._due_s:
            self._due_s = lease.seen_s + KEEP_EVERY_S
            with contextlib.suppress(GalleryError):  # a disk that takes no changes
                self._keep(lease)
                self._due_s = _find_due(lease)
        return lease.seen_s - SLACK_S


def _find_due(lease: Lease) -> float:
    """When a gallery that knows this has to be told more; at the end of the lease at the latest."""
    if lease.seen_s >= lease.until_s:
        return math.inf
    return min(lease.seen_s + KEEP_EVERY_S, lease.until_s)
