"""The gate: many threads may be inside at a time, or one that changes what they use, alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Threads inside, and one that waits until they have left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._is_closed = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside; waits while the gate is closed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def close(self, timeout_s: float) -> Iterator[bool]:
        """Be alone, if the others leave in time. One thread does that at a time."""
        with self._changed:
            self._is_closed = True
            is_alone = self._changed.wait_for(lambda: self._inside == 0, timeout_s)
        try:
            yield is_alone
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()
