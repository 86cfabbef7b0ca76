"""What every sink promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from edge.wire.schema import Message
from edge.wire.spool import SpoolState
from edge.wire.subscriber_guard import SubscriberCounts


class Sink(Protocol):
    """Where messages go. Opened, used and closed by one thread."""

    def open(self) -> AbstractContextManager[None]:
        """Acquire sockets or files; release them on exit.

        Raises:
            SinkError: It cannot be opened.
        """

    def send(self, messages: Sequence[Message]) -> None:
        """Hand over messages in order.

        Raises:
            SinkError: The sink is broken; it will be reopened with backoff.
        """

    def idle(self) -> None:
        """Called at least every 0.1 s while open: answer subscribers, flush."""


@runtime_checkable
class CountsSubscribers(Protocol):
    """A sink that knows its subscribers; what it counts becomes metrics."""

    def count_subscribers(self) -> SubscriberCounts:
        """What happened to subscribers since the last call."""


@runtime_checkable
class Spools(Sink, Protocol):
    """A sink whose messages wait on the disk for a server; how it does becomes metrics."""

    def look(self) -> SpoolState:
        """What waits, what was lost since the last call, and why nothing is sent."""


@runtime_checkable
class Audits(Sink, Protocol):
    """A sink that takes the audit log of the gallery, entry by entry, and forgets none it took."""

    def find_audited(self, log_id: str) -> int | None:
        """Number of the last entry that it has of a log; None if it wants none, or is closed.

        Called by another thread. Of an entry that does not follow that one it takes no notice.
        """


@runtime_checkable
class Hurries(Protocol):
    """A sink that sometimes cannot wait until it is called."""

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """Be told what to call, from any thread, so that `Sink.idle` is called at once."""


@runtime_checkable
class Inherits(Protocol):
    """A sink that knows what an earlier one in its place has sent."""

    def inherit(self, former: Sink) -> None:
        """Take what is worth to be known of one that is closed, before this one is opened."""
