"""The board of a hub: what all boxes said last, read again and again while somebody may look."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Final

from edge.errors import EdgeError, translate_unexpected
from edge.fleet.people_hub import HubPeople, PeopleAtBox
from edge.fleet.people_sender import PeopleSender
from edge.fleet.records import Report
from edge.fleet.store import FleetStore
from edge.wire.nats_connection import FAILURES, NatsServers

log = logging.getLogger(__name__)

REFRESH_S: Final = 1.0
RETRY_S: Final = 2.0


class FleetBoard:
    """Reads the reports in a thread of its own.

    Args:
        servers: Of the hub.
        people: Of the hub, if it sends any.
        sender: Of people.

    Attributes:
        reports: The last report of each box, in order of their names.
        people: How far each box that gets people is with them, by name.
        problem: Why they are not read; empty while they are.
    """

    def __init__(
        self,
        servers: NatsServers,
        people: HubPeople | None = None,
        sender: PeopleSender | None = None,
    ) -> None:
        self.reports: tuple[Report, ...] = ()
        self.people: Mapping[str, PeopleAtBox] = {}
        self._hub_people, self._sender = people, sender
        self.problem = "the server has not answered yet"
        self._servers = servers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet board", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._over.set()
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.run(self._read_on())

    async def _read_on(self) -> None:
        while not self._over.is_set():
            try:
                with translate_unexpected(_explain):
                    await self._read_until_it_ends()
            except (*FAILURES, EdgeError) as error:
                self.problem = self._servers.explain(error)
            else:
                self.problem = self.problem or "the connection to the server ended"
            await asyncio.to_thread(self._over.wait, RETRY_S)

    async def _read_until_it_ends(self) -> None:
        """Read while the connection lasts."""
        client = await self._servers.connect()
        try:
            store = await FleetStore.open(client)
            while not (self._over.is_set() or client.is_closed):
                found = await store.list_reports()
                self.reports = tuple(found[name] for name in sorted(found))
                if self._hub_people:
                    told = {name: report.people for name, report in found.items()}
                    self.people = self._hub_people.judge(told)
                self.problem = self._sender.problem if self._sender else ""
                await asyncio.sleep(REFRESH_S)
        finally:
            await client.close()


def _explain(error: Exception) -> Exception:
    """What is raised in place of what nobody expected: the page goes on, and says it."""
    if isinstance(error, FAILURES):
        return error
    log.error("the boxes cannot be read", exc_info=error)
    return EdgeError(f"the boxes cannot be read: {error!r}")
