"""Server-sent events: what happens, as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response, StreamingResponse

from edge.recording.records import EventRecord
from edge.web.changes import Change, ChangeFeed
from edge.web.endpoint import Call, Endpoint
from edge.web.events import describe_event
from edge.web.schema import CameraState, EventEntry, Query

SILENCE_S = 15.0  # after which a comment shows that the connection lives
RETRY_MS = 2000


async def follow_changes(call: Call[Query, None]) -> Response:
    """Send changes from now on, or after the one that the reader names as its last."""
    feed = call.node.changes
    number = _read_last(feed, call.request.headers.get("last-event-id", ""))
    return send_events(_send(call, number))


def send_events(events: AsyncIterator[bytes]) -> Response:
    """An answer of server-sent events, each as it comes."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _read_last(feed: ChangeFeed, last: str) -> int | None:
    """Number of the change that was read last; None if changes were missed since."""
    if not last:
        return feed.newest
    run, _, number = last[:40].partition("-")
    return int(number) if run == feed.run and number.isdecimal() else None


async def _send(call: Call[Query, None], number: int | None) -> AsyncIterator[bytes]:
    feed, names = call.node.changes, call.sees_names
    yield f"retry: {RETRY_MS}\n\n".encode()
    while call.is_welcome():
        changes = None if number is None else feed.list_after(number)
        if changes is None:
            number, changes = feed.newest, []
            yield _encode(feed, number, "reset", b"{}")
        for change in changes:
            number = change.number
            yield _encode(feed, number, *_describe(change, names=names))
        assert number is not None  # noqa: S101 - it was set above
        if not changes:
            await feed.wait(number, SILENCE_S)
            if feed.newest == number:
                yield b":\n\n"


def _describe(change: Change, *, names: bool) -> tuple[str, bytes]:
    """The name of a change, and what it is about."""
    subject = change.subject
    if isinstance(subject, EventRecord):
        entry: EventEntry | CameraState = describe_event(subject, names=names)
        return str(change.kind), msgspec.json.encode(entry)
    entry = CameraState(
        subject.camera, str(subject.state), subject.reason, str(subject.reason_code), subject.at_s,
        subject.size_wh,
    )  # fmt: skip
    return "camera", msgspec.json.encode(entry)


def _encode(feed: ChangeFeed, number: int, name: str, data: bytes) -> bytes:
    head = f"id: {feed.run}-{number}\nevent: {name}\ndata: "
    return head.encode() + data + b"\n\n"


ENDPOINTS = (
    Endpoint("GET", "/changes", follow_changes,
             "Server-sent events: `begun`, `updated`, `ended` and `deleted` with an EventEntry, "
             "`camera` with a CameraState, and `reset` where some were missed and lists must be "
             "read again.",
             answer="text/event-stream", stay="watching"),
)  # fmt: skip
