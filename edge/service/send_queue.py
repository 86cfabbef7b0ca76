"""The send queue of a sink: bounded, emptied by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.errors import ConfigError, EdgeError, SinkError
from edge.service.backoff import Backoff
from edge.service.workers import Worker
from edge.wire.message_builder import stamp
from edge.wire.schema import Message
from edge.wire.sink import Sink

log = logging.getLogger(__name__)

IDLE_S = 0.1
FLUSH_S = 2.0


@dataclass(slots=True)
class SendQueue:
    """Messages on their way to one sink. While it is slow, the oldest are dropped and counted.

    Attributes:
        name: The sink's name in logs.
        sink: Opened, used and closed in the worker's thread.
        on_sent: Called with the messages that were handed over, stamped with their ages.
        on_dropped: Called with the number of lost messages and the reason.
        on_up: Called with True when the sink opens and False when it fails.
        max_messages: The number of messages that may wait.
    """

    name: str
    sink: Sink
    backoff: Backoff
    on_sent: Callable[[Sequence[Message]], None]
    on_dropped: Callable[[int, str], None]
    on_up: Callable[[bool], None]
    max_messages: int = 1000
    _waiting: deque[Message] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, messages: Sequence[Message]) -> None:
        """Append messages; never blocks."""
        with self._changed:
            self._waiting.extend(messages)
            excess = len(self._waiting) - self.max_messages
            for _ in range(excess):
                self._waiting.popleft()
            self._changed.notify()
        if excess > 0:
            self.on_dropped(excess, "outbox_full")

    def run(self, worker: Worker) -> None:
        """Open the sink and send until stopped; reopen after failures."""
        self.on_up(False)
        while not worker.stop.is_set():
            try:
                with self.sink.open():
                    log.info("%s is open", self.name)
                    self.on_up(True)
                    self.backoff.reset()
                    self._send_all(worker)
            except SinkError as error:
                log.warning("%s failed: %s", self.name, error)
                self.on_up(False)
                worker.stop.wait(self.backoff.short())
                worker.mark_progress()

    def _send_all(self, worker: Worker) -> None:
        idle_s = float("-inf")
        while not worker.stop.is_set():
            worker.mark_progress()
            self._send_waiting(IDLE_S)
            if time.monotonic() - idle_s >= IDLE_S:
                self.sink.idle()
                idle_s = time.monotonic()
        deadline_s = time.monotonic() + FLUSH_S
        while self._waiting and time.monotonic() < deadline_s:
            self._send_waiting(0)
        self.sink.idle()

    def _send_waiting(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            messages = list(self._waiting)
            self._waiting.clear()
        if not messages:
            return
        now_s, now_monotonic_s = time.time(), time.monotonic()
        stamped_messages = [stamp(message, now_s, now_monotonic_s) for message in messages]
        try:
            self.sink.send(stamped_messages)
        except SinkError:
            self.on_dropped(len(stamped_messages), "sink_failed")
            raise
        self.on_sent(stamped_messages)


def try_open(sink: Sink, key: str) -> None:
    """Open and close a sink once.

    Raises:
        ConfigError: It cannot be opened; ``key`` is its place in the configuration.
    """
    try:
        with sink.open():
            pass
    except EdgeError as error:
        raise ConfigError(error.problem, key=f"{key}.{error.key}".rstrip(".")) from error
