"""The outbox of a sink: a bounded queue and the thread that empties it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from edge.errors import SinkError
from edge.ports import Sink
from edge.service.backoff import Backoff
from edge.service.workers import Worker
from edge.wire.message_builder import stamped
from edge.wire.schema import Message

log = logging.getLogger(__name__)

IDLE_S = 0.1
FLUSH_S = 2.0


class Outbox:
    """Messages on their way to one sink; the oldest are dropped, and counted, when it is slow.

    Args:
        name: of the sink, for logs.
        sink: opened, used and closed in the worker's thread.
        backoff: delays between tries to open it.
        sent: called with the messages that were handed over, with their ages stamped.
        dropped: called with how many were lost and why.
        up: called with whether the sink is open.
        most: messages that wait at most.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        backoff: Backoff,
        sent: Callable[[Sequence[Message]], None],
        dropped: Callable[[int, str], None],
        up: Callable[[bool], None],
        most: int = 1000,
    ) -> None:
        self.name = name
        self.opened = threading.Event()
        self._sink = sink
        self._backoff = backoff
        self._sent = sent
        self._dropped = dropped
        self._up = up
        self._most = most
        self._waiting: deque[Message] = deque()
        self._changed = threading.Condition()

    def put(self, messages: Sequence[Message]) -> None:
        """Leave messages; never blocks."""
        with self._changed:
            self._waiting.extend(messages)
            excess = len(self._waiting) - self._most
            for _ in range(excess):
                self._waiting.popleft()
            self._changed.notify()
        if excess > 0:
            self._dropped(excess, "outbox_full")

    def run(self, worker: Worker) -> None:
        """Open the sink and empty the outbox until stopped; reopen after failures."""
        self._up(False)
        while not worker.stop.is_set():
            try:
                with self._sink.open():
                    log.info("%s is open", self.name)
                    self._up(True)
                    self.opened.set()
                    self._backoff.reset()
                    self._empty(worker)
            except SinkError as error:
                log.warning("%s failed: %s", self.name, error)
                self._up(False)
                worker.stop.wait(self._backoff.short())
                worker.pulse()

    def _empty(self, worker: Worker) -> None:
        idle_s = float("-inf")
        while not worker.stop.is_set():
            worker.pulse()
            self._hand_over(IDLE_S)
            if time.monotonic() - idle_s >= IDLE_S:
                self._sink.idle()
                idle_s = time.monotonic()
        deadline_s = time.monotonic() + FLUSH_S
        while self._waiting and time.monotonic() < deadline_s:
            self._hand_over(0)
        self._sink.idle()

    def _hand_over(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            messages = list(self._waiting)
            self._waiting.clear()
        if not messages:
            return
        now_s, now_monotonic_s = time.time(), time.monotonic()
        leaving = [stamped(message, now_s, now_monotonic_s) for message in messages]
        try:
            self._sink.send(leaving)
        except SinkError:
            self._dropped(len(leaving), "sink_failed")
            raise
        self._sent(leaving)
