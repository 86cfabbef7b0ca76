"""Freed memory: what glibc keeps for later, though nobody may ask for it again.

Each thread allocates from an arena of its own. What is freed in its midst goes back when it is
asked for (`malloc_trim`); what is freed at its end only at the next `free` there, and only where it
is more than a threshold. glibc raises that by itself up to 64 MB, with reason: to give back the
memory of each picture and take it again costs milliseconds. So most of a model that several threads
have used stays after it was replaced, in one arena after the other. Here the threshold is low for a
moment, once a minute.

And there are eight arenas a core. What is freed in one is of no use to a thread of another, so that
each model that is replaced leaves pieces in some more of them: fifteen exchanges of a detector on
two cores left 320 MB of freed memory more, 40 MB of it resident. With an arena a core they do not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from typing import Final

EVERY_S = 60.0  # to look through all of it takes some tens of milliseconds
LOW_S = 1.0  # in which threads that work free something
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt
_LOW_BYTES, _HIGH_BYTES = 1 << 20, 64 << 20
_MMAP_BYTES: Final = 32 << 20  # larger blocks come and go on their own; glibc allows no more


def limit_arenas() -> None:
    """Let there be an arena a core, if there are not more of them yet."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, len(os.sched_getaffinity(0)))


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, such as that of a model that was replaced."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _keep_freed(size_bytes: int) -> None:
    """Keep that much at the end of each arena."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)  # else it stays at what it happens to be
        library.mallopt(_TRIM_THRESHOLD, size_bytes)


class FreedMemory:
    """Gives it back now and then.

    Args:
        clock: Seconds of the monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_low = False
        self._due_s = clock() + EVERY_S

    def tick(self) -> None:
        """Begin to give it back if a minute has passed, and end that a second later."""
        if self._clock() < self._due_s:
            return
        self._is_low = not self._is_low
        _keep_freed(_LOW_BYTES if self._is_low else _HIGH_BYTES)
        if self._is_low:
            return_freed_memory()
        self._due_s = self._clock() + (LOW_S if self._is_low else EVERY_S)
