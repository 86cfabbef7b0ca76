"""What a box asks of the hub and tells it.

It asks for single messages by subject and listens to nothing, since only then can the server tell
the entries of one box from those of another, and needs to keep nothing for a box that asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from edge.errors import EdgeError
from edge.fleet.models import ModelReader
from edge.fleet.records import Report
from edge.fleet.store import BOXES, DESIRED, TIMEOUT_S, Revision, decode_desired


class BoxStore:
    """The hub, as one box sees it.

    Args:
        client: A connection.
        box: Name of the box.
    """

    def __init__(self, client: Client, box: str) -> None:
        self._stream, self._box = client.jetstream(timeout=TIMEOUT_S), box
        self._models = ModelReader(client)

    async def read_wanted(self) -> Revision | None:
        """What is wanted of the box, if anything.

        Raises:
            EdgeError: The server is no hub, or does not let the box ask.
        """
        subject = f"$KV.{DESIRED}.{self._box}"
        try:
            found = await self._stream.get_msg(f"KV_{DESIRED}", subject=subject, direct=True)
        except NotFoundError:
            return None
        except NoRespondersError:
            raise EdgeError(
                f"the server has no bucket {DESIRED}: use edge hub there once"
            ) from None
        return Revision(found.seq or 0, decode_desired(found.data, self._box))

    async def report(self, report: Report) -> None:
        """Store what the box says."""
        await self._stream.publish(f"$KV.{BOXES}.{self._box}", msgspec.json.encode(report))

    async def fetch_models(self, names: Iterable[str], folder: Path) -> None:
        """Have models in a folder, whole.

        Raises:
            EdgeError: The server has not all of them.
        """
        for name in sorted(names):
            await self._models.fetch(name, folder)
