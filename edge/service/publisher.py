"""The publisher: messages of this node, queued for every sink."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge import plugins
from edge.errors import locate
from edge.service.backoff import Backoff
from edge.service.metrics import Metrics
from edge.service.outlet import Outlet
from edge.service.workers import Worker, WorkerGroup
from edge.wire.schema import Message
from edge.wire.sink import Audits, Sink

log = logging.getLogger(__name__)

MAX_SILENCE_S = 10.0

Table = Mapping[str, Any]


class Publisher:
    """Queues messages for every sink and counts what was sent and lost.

    Its threads are apart from the other workers: a sink that hangs is not the daemon's death.
    """

    def __init__(self, metrics: Metrics, report: Callable[[str, str], None]) -> None:
        """``report`` is called with a sink's name and why it does not work, or nothing."""
        self._metrics = metrics
        self._report = report
        self._outlets: Sequence[Outlet] = ()
        self._leaving: list[Worker] = []
        self._lock = threading.Lock()  # so that no message falls between two sets of sinks
        self._group = WorkerGroup(MAX_SILENCE_S)
        self._stuck: frozenset[str] = frozenset()
        self._rng = random.Random()  # noqa: S311 - jitter

    @property
    def workers(self) -> list[Worker]:
        """The threads of its sinks, and of those that are leaving."""
        return [*self._leaving, *(outlet.worker for outlet in self._outlets if outlet.worker)]

    def start(self, sinks: Sequence[Table]) -> None:
        """Start a thread for each sink; one that cannot be opened yet is tried until it can.

        Raises:
            ConfigError: A sink cannot be used as configured.
        """
        self.change(sinks, self.create(sinks))

    def create(self, sinks: Sequence[Table]) -> dict[int, Sink]:
        """Create the sinks of a configuration that do not run yet, by row.

        Raises:
            ConfigError: One cannot be used as configured.
        """
        created = {}
        for row, (table, outlet) in enumerate(zip(sinks, self._match(sinks), strict=True)):
            if outlet is None:
                with locate(key=f"sinks[{row}]"):
                    created[row] = plugins.create("sinks", table)
        return created

    def change(self, sinks: Sequence[Table], created: Mapping[int, Sink]) -> None:
        """Go on with these sinks: those whose tables are the same lose nothing.

        Each message goes to all sinks from before or to all of these. Those that leave send what
        waits; only then are the new ones opened, which may have a port or a file of theirs.
        """
        outlets = [
            known or self._create_outlet(row, table, created[row])
            for row, (table, known) in enumerate(zip(sinks, self._match(sinks), strict=True))
        ]
        with self._lock:
            before, self._outlets = self._outlets, outlets
        moved = [(row, outlet) for row, outlet in enumerate(outlets)
                 if outlet in before and outlet is not _get(before, row)]  # fmt: skip
        self._leaving = [worker for worker in self._leaving if not worker.join(0)]
        for outlet in before:
            if outlet not in outlets and (worker := outlet.leave(self._group)):
                self._leaving.append(worker)
        for _, outlet in moved:
            outlet.unlabel()
        for row, outlet in moved:
            outlet.move(row)
        for row, outlet in enumerate(outlets):
            if outlet not in before:
                former = _get(before, row)
                is_gone = former is not None and former not in outlets
                outlet.start(self._group, tuple(self._leaving), former if is_gone else None)
        self._stuck = frozenset()

    def publish(self, messages: Sequence[Message]) -> None:
        """Queue messages for every sink; never blocks."""
        with self._lock:
            for outlet in self._outlets:
                outlet.queue.put(messages)

    def list_auditors(self) -> list[tuple[Audits, Callable[[Sequence[Message]], None]]]:
        """The sinks that may take the audit log, each with what queues messages for it alone."""
        with self._lock:
            return [
                (outlet.sink, outlet.queue.put)
                for outlet in self._outlets
                if isinstance(outlet.sink, Audits)
            ]

    def check(self) -> list[str]:
        """Report sinks that have made no progress for too long, and return their names.

        Raises:
            WorkerError: A sink's thread died.
        """
        self._group.raise_death()
        stuck = frozenset(self._group.find_stuck())
        for outlet in self._outlets:
            if outlet.name in stuck - self._stuck:
                log.error("%s has made no progress for %g s", outlet.name, MAX_SILENCE_S)
                outlet.show(f"it has made no progress for {MAX_SILENCE_S:g} s")
            elif outlet.name in self._stuck - stuck:
                outlet.show(outlet.queue.problem)
        self._stuck = stuck
        return sorted(stuck)

    def _create_outlet(self, row: int, table: Table, sink: Sink) -> Outlet:
        return Outlet(table, sink, row, self._metrics, self._report, Backoff(self._rng))

    def _match(self, sinks: Sequence[Table]) -> list[Outlet | None]:
        """The outlet that runs with each of these tables; rather the one in the same place."""
        free = list(self._outlets)
        matched: list[Outlet | None] = [None] * len(sinks)
        for row, table in enumerate(sinks):
            outlet = _get(self._outlets, row)
            if outlet and outlet.table == table:
                matched[row] = outlet
                free.remove(outlet)
        for row, table in enumerate(sinks):
            if matched[row] is None:
                matched[row] = next((each for each in free if each.table == table), None)
                free = [each for each in free if each is not matched[row]]
        return matched


def _get(outlets: Sequence[Outlet], row: int) -> Outlet | None:
    return outlets[row] if row < len(outlets) else None
