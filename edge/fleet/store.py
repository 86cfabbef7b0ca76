"""What hub and boxes tell each other, in two buckets of JetStream: what is wanted, and what is.

They are ``EDGE_DESIRED`` and ``EDGE_BOXES``; a box has one key in each, its name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, KeyValueConfig, StorageType, StreamConfig
from nats.js.errors import (
    BucketNotFoundError,
    KeyNotFoundError,
    NoKeysError,
    NotFoundError,
)
from nats.js.kv import KeyValue

from edge.fleet.models import ModelStore
from edge.fleet.records import UNREADABLE, Desired, Report

DESIRED: Final = "EDGE_DESIRED"
BOXES: Final = "EDGE_BOXES"
HISTORY: Final = 16  # revisions of a box that can be gone back to
TIMEOUT_S: Final = 5.0
MAX_VERSION: Final = 100  # characters
MAX_PROBLEM: Final = 2000  # characters
MAX_LINES: Final = 10  # of it
UNREADABLE_REPORT: Final = "its report cannot be read"
MAX_REPORT_BYTES: Final = 1 << 18
NO_WINDOW_S: Final = 0.1  # the least: ids of messages are kept for so long, whatever their size


@dataclass(frozen=True, slots=True)
class Revision:
    """What was wanted of a box.

    Attributes:
        number: Of the bucket, which grows.
        desired: What it is; None if it cannot be read.
    """

    number: int
    desired: Desired | None


class FleetStore:
    """The buckets, over a connection.

    Attributes:
        client: The connection.
    """

    def __init__(self, client: Client, desired: KeyValue, boxes: KeyValue) -> None:
        self.client, self._desired, self._boxes = client, desired, boxes
        self._stream = client.jetstream(timeout=TIMEOUT_S)

    @classmethod
    async def open(cls, client: Client) -> FleetStore:
        """The buckets of a server; those that are not there are made."""
        stream = client.jetstream(timeout=TIMEOUT_S)
        desired = KeyValueConfig(
            bucket=DESIRED, history=HISTORY, max_value_size=2 << 20, direct=True
        )
        # As a bucket, but that a header of what a box reports cannot remove what others reported.
        boxes = StreamConfig(
            name=f"KV_{BOXES}", subjects=[f"$KV.{BOXES}.>"], storage=StorageType.FILE,
            max_msgs_per_subject=1, max_msg_size=MAX_REPORT_BYTES, allow_direct=True,
            discard=DiscardPolicy.NEW, allow_rollup_hdrs=False, duplicate_window=NO_WINDOW_S,
        )  # fmt: skip
        found = []
        for name, make in (
            (DESIRED, lambda: stream.create_key_value(desired)),
            (BOXES, lambda: stream.add_stream(boxes)),
        ):
            try:
                found.append(await stream.key_value(name))
            except BucketNotFoundError:
                await make()
                found.append(await stream.key_value(name))
        return cls(client, *found)

    async def want(self, box: str, desired: Desired) -> int:
        """Store what a box is to run; the number of that revision."""
        named = msgspec.structs.replace(desired, box=box)
        return await self._desired.put(box, msgspec.json.encode(named))

    async def list_revisions(self, box: str) -> list[Revision]:
        """What was wanted of a box, the oldest that is known first."""
        try:
            entries = await self._desired.history(box)
        except (KeyNotFoundError, NoKeysError):
            return []
        return [
            Revision(entry.revision or 0, decode_desired(entry.value, box)) for entry in entries
        ]

    async def send_models(self, files: Mapping[str, Path]) -> None:
        """Store models by their names in configurations."""
        await (await ModelStore.open(self.client)).send(files)

    async def forget(self, box: str) -> bool:
        """Remove what was wanted of a box and what it said; whether there was anything."""
        revisions, reports = await self.list_revisions(box), await self.list_reports()
        for bucket in (DESIRED, BOXES):
            await self._stream.purge_stream(f"KV_{bucket}", subject=f"$KV.{bucket}.{box}")
        return bool(revisions) or box in reports

    async def list_reports(self) -> dict[str, Report]:
        """The last report of each box, by its name."""
        info = await self._stream.stream_info(f"KV_{BOXES}", subjects_filter=f"$KV.{BOXES}.>")
        names = [subject.rpartition(".")[2] for subject in info.state.subjects or {}]
        found = await asyncio.gather(*map(self._read_report, names))
        return {report.box: report for report in found if report}

    async def _read_report(self, box: str) -> Report | None:
        """What a box says of itself alone, at the time by the server's clock.

        Not by a direct get, whose answer has the headers of the message: a box that sends a status
        would have it taken for the server's.
        """
        subject = f"$KV.{BOXES}.{box}"
        try:
            entry = await self._stream.get_msg(f"KV_{BOXES}", subject=subject)
        except NotFoundError:  # it was removed meanwhile
            return None
        report = _decode_report(entry.data, box)
        at_s = entry.time.timestamp() if entry.time else report.at_s
        problem = "\n".join(report.problem[:MAX_PROBLEM].splitlines()[:MAX_LINES])
        version = report.version[:MAX_VERSION]
        told = report.people
        people = msgspec.structs.replace(
            told, problem=told.problem[:MAX_PROBLEM], proof=told.proof[:MAX_VERSION]
        )
        return msgspec.structs.replace(
            report, at_s=at_s, problem=problem, version=version, people=people
        )


def _decode_report(value: bytes | None, box: str) -> Report:
    """What a box says of itself; one that cannot be read, or is another box's, says that."""
    with contextlib.suppress(*UNREADABLE):
        report = msgspec.json.decode(value or b"", type=Report)
        if report.box == box:
            return report
    return Report(box, "", 0, None, UNREADABLE_REPORT, is_ready=False, at_s=0.0)


def decode_desired(value: bytes | None, box: str) -> Desired | None:
    """What is wanted of a box; None if it cannot be read, or is another box's."""
    try:
        desired = msgspec.json.decode(value or b"", type=Desired)
    except UNREADABLE:
        return None
    return desired if desired.box == box else None
