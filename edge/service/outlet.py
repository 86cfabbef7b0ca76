"""The outlet: a sink with its send queue and its thread, and what is counted of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.service.backoff import Backoff
from edge.service.metrics import Metrics
from edge.service.send_queue import SendQueue
from edge.service.workers import Worker, WorkerGroup
from edge.wire import topics
from edge.wire.schema import DetectionsMessage, Message
from edge.wire.sink import Inherits, Sink
from edge.wire.spool import SpoolState
from edge.wire.subscriber_guard import SubscriberCounts

log = logging.getLogger(__name__)

LEAVE_S = 10.0  # for a sink to send what waits and to close, before the next one is opened


class Outlet:
    """A sink in its place of the configuration, by which metrics and health name it.

    Args:
        table: What the configuration says of it.
        row: Its place.
        report: Called with its label and why it does not work, or nothing.
    """

    def __init__(
        self,
        table: Mapping[str, Any],
        sink: Sink,
        row: int,
        metrics: Metrics,
        report: Callable[[str, str], None],
        backoff: Backoff,
    ) -> None:
        self.table = table
        self._kind = str(table["kind"])
        self._row = row
        self._metrics = metrics
        self._report = report
        self._problem = self._spool_problem = ""
        self._is_leaving = False
        self._lock = threading.Lock()  # of what is shown: a thread may show while it is moved
        self.sink = sink
        self._predecessors: Sequence[Worker] = ()
        self._former: Outlet | None = None
        self.worker: Worker | None = None
        self.queue = SendQueue(
            self.name,
            sink,
            backoff,
            self._count_sent,
            self._count_dropped,
            self.show,
            self._count_subscribers,
            self._follow_spool,
        )

    @property
    def name(self) -> str:
        """Its name in logs."""
        return f"sink {self._row} ({self._kind})"

    @property
    def label(self) -> str:
        """Its name in metrics and health."""
        return f"{self._row}-{self._kind}"

    # --- its life -------------------------------------------------------------------------------

    def start(
        self,
        group: WorkerGroup,
        predecessors: Sequence[Worker] = (),
        former: Outlet | None = None,
    ) -> None:
        """Start its thread.

        Args:
            group: What watches the thread.
            predecessors: Threads that must end before it is opened: they may have its port.
            former: Whose place it takes.
        """
        self._predecessors, self._former = predecessors, former
        self.show("it is not open yet")
        self.worker = group.start(self.name, self._run)

    def leave(self, group: WorkerGroup) -> Worker | None:
        """Send what waits and end, without being waited for; its thread."""
        with self._lock:
            self._is_leaving = True
            self._forget()
        if self.worker:
            group.release([self.worker])
        return self.worker

    def unlabel(self) -> None:
        """Take away what is shown in its place, which is another one's from now on."""
        with self._lock:
            self._forget()

    def move(self, row: int) -> None:
        """Go on in another place."""
        with self._lock:
            self._row = row
            self.queue.name = self.name
            if self.worker:
                self.worker.name = self.name
            self._show(self._problem)

    def _run(self, worker: Worker) -> None:
        deadline_s = time.monotonic() + LEAVE_S
        for other in self._predecessors:
            while time.monotonic() < deadline_s and not other.join(0.1):
                worker.mark_progress()
        former, has_ended = self._former, all(other.join(0) for other in self._predecessors)
        if not has_ended:
            log.warning("%s is opened, though one before has not ended and may have its place",
                        self.name)  # fmt: skip
        self._predecessors, self._former = (), None
        if former and has_ended and isinstance(self.sink, Inherits):
            self.sink.inherit(former.sink)
        self.queue.run(worker)

    # --- what is shown of it --------------------------------------------------------------------

    def show(self, problem: str) -> None:
        """Show why it does not work, or that it does."""
        with self._lock:
            self._problem = problem
            self._show(problem)

    def _show(self, problem: str) -> None:
        if not self._is_leaving:
            self._metrics.sink_up.labels(self.label).set(0 if problem else 1)
            self._report(self.label, problem)

    def _forget(self) -> None:
        self._metrics.forget_sink(self.label)
        self._report(self.label, "")

    def _count_sent(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = message.body
            self._metrics.messages_published.labels(topics.parse_family(message.topic)).inc()
            if isinstance(body, DetectionsMessage):
                self._metrics.observe_latency(body.camera, body.age_s)

    def _count_dropped(self, count: int, reason: str) -> None:
        self._metrics.messages_dropped.labels(reason, self.label).inc(count)

    def _count_subscribers(self, counts: SubscriberCounts) -> None:
        with self._lock:
            if self._is_leaving:
                return
            self._metrics.subscribers.labels(self.label).set(counts.connected)
            for reason, count in counts.cut.items():
                self._metrics.subscribers_cut.labels(self.label, reason).inc(count)
        if counts.dropped:
            self._count_dropped(counts.dropped, "slow_subscriber")

    def _follow_spool(self, state: SpoolState) -> None:
        with self._lock:
            if not self._is_leaving:
                self._metrics.spool_messages.labels(self.label).set(state.messages)
                self._metrics.spool_bytes.labels(self.label).set(state.size_bytes)
        if state.lost:
            self._count_dropped(state.lost, "spool_full")
        if state.problem != self._spool_problem:
            self._spool_problem = state.problem
            self.show(state.problem)
