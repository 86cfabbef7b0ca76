"""Workers: threads that report progress and that cannot die unnoticed."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from edge.errors import EdgeError, GpuLostError, WorkerError, translate_unexpected

log = logging.getLogger(__name__)


class Worker:
    """A thread with a name, a stop flag and a progress mark.

    Args:
        work: Runs until the stop flag is set; calls ``worker.mark_progress()`` as it goes.
        on_death: Called from the thread when ``work`` raised or returned early.
        max_silence_s: The longest time between two progress marks of a healthy worker.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Worker], None],
        on_death: Callable[[Worker], None],
        max_silence_s: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.stop = threading.Event()
        self.finished = False
        self.error: EdgeError | None = None
        self._work = work
        self._on_death = on_death
        self._max_silence_s = max_silence_s
        self._clock = clock
        self._progress_s = clock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._progress_s = self._clock()
        self._thread.start()

    def mark_progress(self) -> None:
        """Report that the work went on."""
        self._progress_s = self._clock()

    @property
    def silence_s(self) -> float:
        """The time since the last progress mark; 0 when the work is finished."""
        return 0.0 if self.finished else self._clock() - self._progress_s

    def is_alive(self) -> bool:
        """Whether the thread runs and reported progress recently, or its work is finished."""
        if self.finished:
            return True
        recent = self._clock() - self._progress_s <= self._max_silence_s
        return self._thread.is_alive() and recent

    def finish(self) -> None:
        """Report that the work is finished for good, so that returning is not a death."""
        self.finished = True

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it did not end in time."""
        if self._thread.ident is None:
            return True
        self._thread.join(max(timeout_s, 0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with translate_unexpected(
                lambda error: WorkerError(f"{type(error).__name__}: {error}")
            ):
                self._work(self)
        except EdgeError as error:
            self.error = error
            log.exception("worker %s died", self.name)
        else:
            if self.stop.is_set() or self.finished:
                return
            log.error("worker %s ended without being stopped", self.name)
        self._on_death(self)


class WorkerGroup:
    """The workers of a process, which ends when one of them dies."""

    def __init__(self, max_silence_s: float) -> None:
        self._max_silence_s = max_silence_s
        self._workers: list[Worker] = []
        self._dead: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    @property
    def workers(self) -> Sequence[Worker]:
        """Those that were started and not removed."""
        return self._workers

    def start(self, name: str, work: Callable[[Worker], None], patience: float = 1) -> Worker:
        """Start a worker that may be silent ``patience`` times as long as others."""
        worker = Worker(name, work, self._dead.put, patience * self._max_silence_s)
        self._workers.append(worker)
        worker.start()
        return worker

    def remove(self, workers: Sequence[Worker], deadline_s: float) -> None:
        """Stop workers and wait for them until ``deadline_s``; their silence no longer counts."""
        self._workers = [worker for worker in self._workers if worker not in workers]
        stop_all(workers, deadline_s)

    def release(self, workers: Sequence[Worker]) -> None:
        """Stop workers without waiting for them; their silence no longer counts."""
        self._workers = [worker for worker in self._workers if worker not in workers]
        for worker in workers:
            worker.stop.set()

    def raise_death(self) -> None:
        """Raise for a worker that died.

        Raises:
            GpuLostError: The worker died of it.
            WorkerError: The worker died of anything else.
        """
        if self._dead.empty():
            return
        dead = self._dead.get()
        if isinstance(dead.error, GpuLostError):
            raise dead.error
        raise WorkerError(f"worker {dead.name} died: see the log above")

    def find_stuck(self) -> list[str]:
        """Names of the workers that have been silent for too long."""
        return [worker.name for worker in self._workers if not worker.is_alive()]


def stop_all(workers: Iterable[Worker], deadline_s: float) -> None:
    """Stop workers at once and wait for all of them until ``deadline_s`` on the monotonic clock."""
    workers = list(workers)
    for worker in workers:
        worker.stop.set()
    late = [worker.name for worker in workers if not worker.join(deadline_s - time.monotonic())]
    if late:
        log.warning("did not end in time: %s", ", ".join(late))
