"""A thread that makes calls which block, and keeps only the newest of what they give."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from edge.errors import SourceError
from edge.sources._av import Deadline

T = TypeVar("T")

_POLL_S = 0.5  # interval at which the stop flag is checked
_CLOSE_TIMEOUT_S = 1.0


class CaptureThread(Generic[T]):
    """Runs ``produce`` in a thread and keeps its newest item, or its failure.

    Args:
        address: What it reads, for messages.
        produce: Stores items with ``store`` until ``closing`` is set; raises `SourceError`.
        interrupt: Makes a call that blocks in the thread return, if anything can.
        explain: Why nothing comes, or it ended, where more is known than the call tells.
    """

    def __init__(
        self,
        address: str,
        produce: Callable[[Callable[[T], None], threading.Event], None],
        interrupt: Callable[[], None] = lambda: None,
        explain: Callable[[], SourceError | None] = lambda: None,
    ) -> None:
        self._address, self._produce, self._interrupt = address, produce, interrupt
        self._explain = explain
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._latest: T | None = None
        self._failure: SourceError | None = None
        self._excused_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name=f"camera {address}", daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[CaptureThread[T]]:
        """Run the thread until the end of the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._interrupt()
            self._thread.join(_CLOSE_TIMEOUT_S)

    def is_alive(self) -> bool:
        """Whether the thread has not ended, though it may have been asked to."""
        return self._thread.is_alive()

    def next(self, deadline: Deadline, stop: threading.Event) -> T | None:
        """Wait for an item newer than the last one; None when ``stop`` was set.

        Raises:
            SourceError: None came in time, or the thread failed.
        """
        begun_s = time.monotonic()
        with self._changed:
            while not stop.is_set():
                if (latest := self._latest) is not None:
                    self._latest = None
                    return latest
                if self._failure:
                    raise self._failure
                until_s = max(begun_s, self._excused_s) + deadline.timeout_s
                if (rest_s := until_s - time.monotonic()) <= 0:
                    raise self._explain() or SourceError(f"{self._address} {deadline.remedy}")
                self._changed.wait(min(rest_s, _POLL_S))
        return None

    def excuse(self) -> None:
        """Say, in the thread, that what comes now gives no item and need not."""
        self._excused_s = time.monotonic()

    def _run(self) -> None:
        try:
            self._produce(self._store, self._closing)
            failure = SourceError(f"{self._address} ended the stream")
        except SourceError as error:
            error = self._explain() or error
            failure = type(error)(error.problem)  # without its traceback and what that keeps alive
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _store(self, item: T) -> None:
        with self._changed:
            self._latest = item
            self._changed.notify_all()
