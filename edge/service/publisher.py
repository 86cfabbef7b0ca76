"""The publisher: messages of this node, queued for every sink."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from edge import plugins
from edge.service.backoff import Backoff
from edge.service.metrics import Metrics
from edge.service.send_queue import SendQueue, try_open
from edge.service.workers import Worker, WorkerGroup
from edge.wire import topics
from edge.wire.schema import DetectionsMessage, Message
from edge.wire.sink import Sink


class Publisher:
    """Queues messages for every sink and counts what was sent and lost."""

    def __init__(self, metrics: Metrics) -> None:
        self.workers: list[Worker] = []
        self._metrics = metrics
        self._queues: list[SendQueue] = []
        self._rng = random.Random()  # noqa: S311 - jitter

    def start(self, sinks: Sequence[Mapping[str, Any]], group: WorkerGroup) -> None:
        """Start a thread for each sink.

        Raises:
            ConfigError: A sink cannot be opened.
        """
        for row, table in enumerate(sinks):
            sink: Sink = plugins.create("sinks", table)
            try_open(sink, f"sinks[{row}]")
            name = f"sink {row} ({table['kind']})"
            set_up = self._metrics.sink_up.labels(f"{row}-{table['kind']}").set
            backoff = Backoff(self._rng)
            send_queue = SendQueue(
                name, sink, backoff, self._count_sent, self._count_dropped, set_up
            )
            self._queues.append(send_queue)
            self.workers.append(group.start(name, send_queue.run))

    def publish(self, messages: Sequence[Message]) -> None:
        """Queue messages for every sink; never blocks."""
        for send_queue in self._queues:
            send_queue.put(messages)

    def _count_sent(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = message.body
            self._metrics.messages_published.labels(topics.parse_family(message.topic)).inc()
            if isinstance(body, DetectionsMessage):
                self._metrics.observe_latency(body.camera, body.age_s)

    def _count_dropped(self, count: int, reason: str) -> None:
        self._metrics.messages_dropped.labels(reason).inc(count)
