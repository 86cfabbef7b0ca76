"""The send queue of a sink: bounded, emptied by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.errors import ConfigError, EdgeError, SinkError
from edge.repeated_warning import RepeatedWarnings
from edge.service.backoff import Backoff
from edge.service.workers import Worker
from edge.wire.message_builder import stamp
from edge.wire.schema import Message
from edge.wire.sink import CountsSubscribers, Hurries, Sink, Spools
from edge.wire.spool import SpoolState
from edge.wire.subscriber_guard import SubscriberCounts

log = logging.getLogger(__name__)

IDLE_S = 0.1
HURRY_S = 0.15  # for so long after it was asked to hurry, a sink is called ...
HURRY_IDLE_S = 0.005  # ... this often
FLUSH_S = 2.0


@dataclass(slots=True)
class SendQueue:
    """Messages on their way to one sink. While it is slow, the oldest are dropped and counted.

    Attributes:
        name: The sink's name in logs.
        sink: Opened, used and closed in the worker's thread.
        on_sent: Called with the messages that were handed over, stamped with their ages.
        on_dropped: Called with the number of lost messages and the reason.
        on_change: Called with why the sink does not work, or with nothing when it does.
        on_counts: Called now and then with what happened to subscribers.
        on_spool: Called now and then with what waits on the disk.
        max_messages: The number of messages that may wait.
    """

    name: str
    sink: Sink
    backoff: Backoff
    on_sent: Callable[[Sequence[Message]], None]
    on_dropped: Callable[[int, str], None]
    on_change: Callable[[str], None]
    on_counts: Callable[[SubscriberCounts], None] = lambda _: None
    on_spool: Callable[[SpoolState], None] = lambda _: None
    max_messages: int = 1000
    _waiting: deque[Message] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _warnings: RepeatedWarnings = field(default_factory=lambda: RepeatedWarnings(log))
    _problem: str = ""
    _hurry_until_s: float = 0.0

    _counting: CountsSubscribers | None = field(init=False)
    _spooling: Spools | None = field(init=False)

    def __post_init__(self) -> None:
        sink = self.sink  # asking a protocol takes long, so it is asked once
        self._counting = sink if isinstance(sink, CountsSubscribers) else None
        self._spooling = sink if isinstance(sink, Spools) else None
        if isinstance(self.sink, Hurries):
            self.sink.on_hurry(self._hurry)

    def _hurry(self) -> None:
        """Call the sink soon, and again: what it waits for may be on its way still."""
        with self._changed:
            self._hurry_until_s = time.monotonic() + HURRY_S
            self._changed.notify()

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

    @property
    def problem(self) -> str:
        """Why it does not work; empty if it does."""
        return self._problem

    def run(self, worker: Worker) -> None:
        """Open the sink and send until stopped; reopen after failures."""
        self.on_change("it is not open yet")
        while not worker.stop.is_set():
            try:
                with self.sink.open():
                    self._work_in(worker)
            except SinkError as error:
                self._report(str(error))
                worker.stop.wait(self.backoff.short())
                worker.mark_progress()
                self._warnings.sum_up()

    def _work_in(self, worker: Worker) -> None:
        """Send while the sink is open; a failure is reported before closing, which may hang."""
        if not self._problem:  # after a failure it must first prove that it can send
            log.info("%s is open", self.name)
            self.on_change("")
        try:
            self._send_all(worker)
        except SinkError as error:
            self._report(str(error))
            raise

    def _report(self, problem: str) -> None:
        """Store whether it works; a failure is told once, then summed up."""
        if problem:
            self._warnings.tell(f"{self.name} failed", f"{self.name} failed: {problem}")
        elif self._problem:
            works = f"{self.name} works again"
            self._warnings.tell(works, works, logging.INFO)
        if problem != self._problem:
            self._problem = problem
            self.on_change(problem)

    def _send_all(self, worker: Worker) -> None:
        idle_s = float("-inf")
        while not worker.stop.is_set():
            worker.mark_progress()
            self._send_waiting(HURRY_IDLE_S if self._is_hurrying() else IDLE_S)
            if time.monotonic() - idle_s >= (HURRY_IDLE_S if self._is_hurrying() else IDLE_S):
                self._idle()
                idle_s = time.monotonic()
        deadline_s = time.monotonic() + FLUSH_S
        while self._waiting and time.monotonic() < deadline_s:
            self._send_waiting(0)
        self._idle()

    def _is_hurrying(self) -> bool:
        return time.monotonic() < self._hurry_until_s

    def _idle(self) -> None:
        self.sink.idle()
        self._warnings.sum_up()
        if self._counting:
            self.on_counts(self._counting.count_subscribers())
        if self._spooling:
            self.on_spool(self._spooling.look())

    def _send_waiting(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or (timeout_s == IDLE_S and self._is_hurrying()), timeout_s
            )
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
        self._report("")


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
