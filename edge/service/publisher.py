"""The publisher: messages of this node, queued for every sink."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from edge import plugins
from edge.service.backoff import Backoff
from edge.service.metrics import Metrics
from edge.service.send_queue import SendQueue
from edge.service.workers import Worker, WorkerGroup
from edge.wire import topics
from edge.wire.schema import DetectionsMessage, Message
from edge.wire.sink import Sink
from edge.wire.spool import SpoolState
from edge.wire.subscriber_guard import SubscriberCounts

log = logging.getLogger(__name__)

MAX_SILENCE_S = 10.0


class Publisher:
    """Queues messages for every sink and counts what was sent and lost.

    Its threads are apart from the other workers: a sink that hangs is not the daemon's death.
    """

    def __init__(self, metrics: Metrics, report: Callable[[str, str], None]) -> None:
        """``report`` is called with a sink's name and why it does not work, or nothing."""
        self.workers: list[Worker] = []
        self._labels: dict[str, str] = {}
        self._metrics = metrics
        self._report = report
        self._queues: list[SendQueue] = []
        self._group = WorkerGroup(MAX_SILENCE_S)
        self._spool_problems: dict[str, str] = {}
        self._stuck: frozenset[str] = frozenset()
        self._rng = random.Random()  # noqa: S311 - jitter

    def start(self, sinks: Sequence[Mapping[str, Any]]) -> None:
        """Start a thread for each sink; one that cannot be opened yet is tried until it can.

        Raises:
            ConfigError: A sink cannot be used as configured.
        """
        for row, table in enumerate(sinks):
            sink: Sink = plugins.create("sinks", table)
            label = f"{row}-{table['kind']}"
            send_queue = SendQueue(
                f"sink {row} ({table['kind']})",
                sink,
                Backoff(self._rng),
                self._count_sent,
                partial(self._count_dropped, label),
                partial(self._set_problem, label),
                partial(self._count_subscribers, label),
                partial(self._follow_spool, label),
            )
            self._queues.append(send_queue)
            self.workers.append(self._group.start(send_queue.name, send_queue.run))
            self._labels[send_queue.name] = label

    def publish(self, messages: Sequence[Message]) -> None:
        """Queue messages for every sink; never blocks."""
        for send_queue in self._queues:
            send_queue.put(messages)

    def check(self) -> list[str]:
        """Report sinks that have made no progress for too long, and return their names.

        Raises:
            WorkerError: A sink's thread died.
        """
        self._group.raise_death()
        stuck = frozenset(self._group.find_stuck())
        for send_queue in self._queues:
            label = self._labels[send_queue.name]
            if send_queue.name in stuck - self._stuck:
                log.error("%s has made no progress for %g s", send_queue.name, MAX_SILENCE_S)
                self._set_problem(label, f"it has made no progress for {MAX_SILENCE_S:g} s")
            elif send_queue.name in self._stuck - stuck:
                self._set_problem(label, send_queue.problem)
        self._stuck = stuck
        return sorted(stuck)

    def _count_sent(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = message.body
            self._metrics.messages_published.labels(topics.parse_family(message.topic)).inc()
            if isinstance(body, DetectionsMessage):
                self._metrics.observe_latency(body.camera, body.age_s)

    def _count_dropped(self, sink: str, count: int, reason: str) -> None:
        self._metrics.messages_dropped.labels(reason, sink).inc(count)

    def _set_problem(self, sink: str, problem: str) -> None:
        self._metrics.sink_up.labels(sink).set(0 if problem else 1)
        self._report(sink, problem)

    def _count_subscribers(self, sink: str, counts: SubscriberCounts) -> None:
        self._metrics.subscribers.labels(sink).set(counts.connected)
        for reason, count in counts.cut.items():
            self._metrics.subscribers_cut.labels(sink, reason).inc(count)
        if counts.dropped:
            self._count_dropped(sink, counts.dropped, "slow_subscriber")

    def _follow_spool(self, sink: str, state: SpoolState) -> None:
        self._metrics.spool_messages.labels(sink).set(state.messages)
        self._metrics.spool_bytes.labels(sink).set(state.size_bytes)
        if state.lost:
            self._count_dropped(sink, state.lost, "spool_full")
        if state.problem != self._spool_problems.get(sink):
            self._spool_problems[sink] = state.problem
            self._set_problem(sink, state.problem)
