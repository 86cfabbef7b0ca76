"""Workers: threads that say when they made progress and when they died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Worker:
    """A thread with a name, a stop flag and a pulse.

    Args:
        name: for logs and for the watchdog.
        work: runs until the stop flag is set; calls ``worker.pulse()`` as it makes progress.
        died: called from the thread with this worker when ``work`` raised or returned early.
        max_silence_s: longest time between two pulses of a healthy worker.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Worker], None],
        died: Callable[[Worker], None],
        max_silence_s: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.stop = threading.Event()
        self.finished = False
        self.error: Exception | None = None  # what it died of
        self._work = work
        self._died = died
        self._max_silence_s = max_silence_s
        self._clock = clock
        self._pulse_s = clock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._pulse_s = self._clock()
        self._thread.start()

    def pulse(self) -> None:
        """Say that progress was made."""
        self._pulse_s = self._clock()

    def is_alive(self) -> bool:
        """Whether the thread runs and its last pulse is recent, or its work is done."""
        if self.finished:
            return True
        recent = self._clock() - self._pulse_s <= self._max_silence_s
        return self._thread.is_alive() and recent

    def finish(self) -> None:
        """Say that the work is done for good, so that returning is no death."""
        self.finished = True

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; true when it came in time."""
        if self._thread.ident is None:
            return True
        self._thread.join(max(timeout_s, 0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work(self)
        except Exception as error:
            self.error = error
            log.exception("worker %s died", self.name)
        else:
            if self.stop.is_set() or self.finished:
                return
            log.error("worker %s ended though nobody stopped it", self.name)
        self._died(self)
