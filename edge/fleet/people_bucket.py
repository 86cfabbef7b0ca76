"""The bucket of people, `EDGE_PEOPLE`: the hub writes it, and each box reads its own keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError, NotFoundError

from edge.errors import EdgeError
from edge.fleet.people_messages import MAX_BYTES

T = TypeVar("T")

BUCKET: Final = "EDGE_PEOPLE"
_STREAM: Final = f"KV_{BUCKET}"
_SUBJECT: Final = f"$KV.{BUCKET}."
TIMEOUT_S: Final = 5.0
AT_ONCE: Final = 32
_OVERHEAD_BYTES: Final = 1024  # of subject and headers
_KEY: Final = re.compile(r"person\.[0-9a-f]{32}|(?:box|lease)\.[A-Za-z0-9_-]{1,64}")


class PeopleBucket:
    """The bucket, over a connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stream = client.jetstream(timeout=TIMEOUT_S)

    async def create(self) -> None:
        """Make it if it is not there."""
        try:
            await self._stream.key_value(BUCKET)
        except BucketNotFoundError:
            config = KeyValueConfig(bucket=BUCKET, history=1, direct=True)
            await self._stream.create_key_value(config)

    async def read(self, key: str) -> bytes | None:
        """What is there; None if nothing is."""
        try:
            found = await self._stream.get_msg(_STREAM, subject=_SUBJECT + key, direct=True)
        except (NotFoundError, nats.errors.NoRespondersError):
            return None
        return found.data or None

    async def read_all(self, keys: Iterable[str]) -> dict[str, bytes | None]:
        """What is there, by key."""
        return dict(await self.read_each(keys, lambda key, value: (key, value)))

    async def read_each(
        self, keys: Iterable[str], use: Callable[[str, bytes | None], T]
    ) -> list[T]:
        """What ``use`` makes of each key and what is there, as soon as that has come.

        Where it raises, no more is read.
        """
        limit = asyncio.Semaphore(AT_ONCE)

        async def read(key: str) -> T:
            async with limit:
                return use(key, await self.read(key))

        tasks = [asyncio.create_task(read(key)) for key in keys]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def write(self, values: Mapping[str, bytes]) -> None:
        """Put values, several at once.

        Raises:
            EdgeError: Some are larger than the server or a box takes; the others were put.
        """
        most = min(self._client.max_payload - _OVERHEAD_BYTES, MAX_BYTES)
        limit = asyncio.Semaphore(AT_ONCE)

        async def put(key: str, value: bytes) -> None:
            async with limit:
                await self._stream.publish(_SUBJECT + key, value)

        small = {key: value for key, value in values.items() if len(value) <= most}
        await asyncio.gather(*(put(key, value) for key, value in small.items()))
        for key, value in values.items():
            if key not in small:
                raise EdgeError(_explain_size(key, len(value), most))

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove keys, without leaving a mark.

        Raises:
            ValueError: One is no key of this bucket; a pattern would take others with it.
        """
        for key in keys:
            if not _KEY.fullmatch(key):
                raise ValueError(f"{key!r} is no key of {BUCKET}")
            await self._stream.purge_stream(_STREAM, subject=_SUBJECT + key)

    async def list_keys(self, kind: str) -> list[str]:
        """The keys of this ``kind``; what somebody else put beside them is left out."""
        info = await self._stream.stream_info(_STREAM, subjects_filter=f"{_SUBJECT}{kind}.>")
        keys = (subject.removeprefix(_SUBJECT) for subject in info.state.subjects or {})
        return [key for key in keys if _KEY.fullmatch(key)]


def _explain_size(key: str, size: int, most: int) -> str:
    kind, _, name = key.partition(".")
    what = f"the list of people for {name}" if kind == "box" else key
    who, remedy = "the hub's server", "raise max_payload in its configuration, or send"
    if most == MAX_BYTES:
        who, remedy = "a box", "send"
    return f"{what} has {size} bytes, and {who} takes {most}: {remedy} fewer people or templates"
