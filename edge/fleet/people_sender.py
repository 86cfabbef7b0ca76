"""The sender of people: while `edge hub run` works, boxes are told of each change and renewed."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from nats.aio.client import Client

from edge.errors import EdgeError
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.people_hub import HubPeople
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.repeated_warning import RepeatedWarnings
from edge.wire.nats_connection import FAILURES, NatsServers

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5
RETRY_S: Final = 5.0
RENEW_S: Final = 3600.0  # at the latest
RENEWALS: Final = 10  # at least, per lease
DAY_S: Final = 86400


class PeopleSender:
    """Sends in a thread of its own.

    Args:
        people: Of the hub.
        key: Where the gallery's master key is.
        servers: Of the hub.
        lease_s: How long boxes may name without hearing of the hub; None is as before.

    Attributes:
        problem: Why boxes are not told; empty while they are.
    """

    def __init__(
        self,
        people: HubPeople,
        key: str,
        servers: NatsServers,
        lease_s: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.problem = ""
        self._people, self._key, self._servers, self._lease_s = people, key, servers, lease_s
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="people sender", daemon=True)
        self._warnings = RepeatedWarnings(log)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Gallery(self._people.gallery, load_key(self._key)) as gallery:
                    self._send_on(gallery)
            except (*FAILURES, EdgeError) as error:
                self.problem = f"people are not sent: {self._servers.explain(error)}"
                if isinstance(error, EdgeError):
                    self.problem = f"people are not sent: {error}"
                self._warnings.tell("people", self.problem)
            self._warnings.sum_up()
            self._over.wait(RETRY_S)

    def _send_on(self, gallery: Gallery) -> None:
        """Send whatever changes, while the gallery's file is the same.

        Raises:
            EdgeError, OSError, nats.errors.Error: That cannot be done.
        """
        sent: tuple[object, ...] = ()
        due_s = -math.inf
        while not (self._over.is_set() or gallery.store.database.was_replaced()):
            present = self._describe(gallery)
            if present != sent or time.monotonic() >= due_s:
                asyncio.run(self._send(gallery))
                # not what is there now: it may have changed while boxes were told
                sent, self.problem = (*present[:2], self._people.file.written_ns), ""
                lease_s = self._people.file.read().lease_s
                due_s = time.monotonic() + min(RENEW_S, lease_s / RENEWALS)
            self._over.wait(LOOK_EVERY_S)

    def _describe(self, gallery: Gallery) -> tuple[object, ...]:
        """What is another one when there is something to be told."""
        ledger = self._people.file.path
        written_ns = ledger.stat().st_mtime_ns if ledger.exists() else 0
        return gallery.generation, int(self._clock() // DAY_S), written_ns  # retention ends by days

    async def _send(self, gallery: Gallery) -> None:
        client: Client = await self._servers.connect()
        try:
            await self._people.publish(gallery, PeopleBucket(client), self._lease_s)
        finally:
            await client.close()
