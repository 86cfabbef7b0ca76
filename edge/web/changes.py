"""The feed of changes: what happens, for everybody who watches, in the order in which it did."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from edge.event import EventChange, KnownPerson
from edge.recording.records import EventRecord
from edge.types import CameraStatus

KEPT = 1000  # changes, for who was away for a moment


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened.

    Attributes:
        number: Counts from 1.
        kind: What became of an event, ``deleted`` at last; None of a camera's state.
    """

    number: int
    subject: EventRecord | CameraStatus
    kind: EventChange | Literal["deleted"] | None = None


class ChangeFeed:
    """The last changes. Any thread may add one; readers are tasks of event loops.

    Attributes:
        run: Names this feed, so that the numbers of an earlier one are not taken for its own.
    """

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._changes: deque[Change] = deque(maxlen=KEPT)
        self._count = 0
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def add_event(self, kind: EventChange, record: EventRecord) -> None:
        """Tell that an event began, was updated or ended."""
        self._add(record, kind)

    def add_deletion(self, record: EventRecord) -> None:
        """Tell that an event was deleted."""
        self._add(record, "deleted")

    def add_status(self, status: CameraStatus) -> None:
        """Tell the state of a camera."""
        self._add(status, None)

    def forget_person(self, person: str) -> None:
        """Remove the name of a person from what is kept."""
        with self._lock:
            changes = [_without_name(change, person) for change in self._changes]
            self._changes = deque(changes, KEPT)

    def _add(
        self,
        subject: EventRecord | CameraStatus,
        kind: EventChange | Literal["deleted"] | None,
    ) -> None:
        with self._lock:
            self._count += 1
            self._changes.append(Change(self._count, subject, kind))
            for event, loop in self._waiting.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    @property
    def newest(self) -> int:
        """Number of the newest change; 0 before the first."""
        return self._count

    def list_after(self, number: int) -> list[Change] | None:
        """The changes after that one; None if some of them are not kept any more."""
        with self._lock:
            if number > self._count or (self._changes and number < self._changes[0].number - 1):
                return None
            newer = self._count - number
            return list(self._changes)[-newer:] if newer else []

    async def wait(self, number: int, timeout_s: float) -> None:
        """Wait until there is a change after that one, or until it takes too long."""
        event = asyncio.Event()
        with self._lock:
            if self._count > number:
                return
            self._waiting[event] = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except asyncio.TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.pop(event, None)


def _without_name(change: Change, person: str) -> Change:
    record = change.subject
    if not isinstance(record, EventRecord):
        return change
    people = tuple(
        KnownPerson(known.person, "") if known.person == person else known
        for known in record.event.people
    )
    return replace(change, subject=replace(record, event=replace(record.event, people=people)))
