"""Events: listed, shown, marked as seen, with their pictures and clips."""

from __future__ import annotations

import base64
import binascii
import math
from http import HTTPStatus
from typing import Any

import numpy as np
from starlette.responses import Response

from edge.event import UNNAMED, EventChange
from edge.recording.records import EventFilter, EventRecord, FileKind
from edge.vision.image_file import read_picture
from edge.web import stored_files
from edge.web.endpoint import Call, Endpoint
from edge.web.ports import Archive, Node
from edge.web.problem import RequestError
from edge.web.schema import (
    ClipQuery,
    EventEntry,
    EventPage,
    EventPerson,
    EventQuery,
    PictureQuery,
    Protection,
    Query,
    Role,
    SeenMark,
)
from edge.web.still import encode_still


def require_archive(node: Node) -> Archive:
    """What is kept.

    Raises:
        RequestError: Nothing is.
    """
    if node.archive is None:
        raise RequestError(
            HTTPStatus.NOT_FOUND, "this node keeps no events: set storage.folder for that"
        )
    return node.archive


def describe_event(record: EventRecord, *, names: bool) -> EventEntry:
    """An event as it is shown, with names or without."""
    event = record.event
    people = tuple(
        EventPerson(p.person, p.name) if names else EventPerson("", UNNAMED) for p in event.people
    )
    return EventEntry(
        id=event.event_id, camera=event.camera, severity=event.severity, triggers=event.triggers,
        labels=event.labels, places=event.places, people=people, tracks=event.tracks,
        began_s=event.began_s, ended_s=event.ended_s, best=event.best, seen=record.seen,
        protected=record.protected, files=tuple(sorted(record.files)),
    )  # fmt: skip


def list_events(call: Call[EventQuery, None]) -> EventPage:
    """One page of events."""
    query = call.query
    if query.person and not call.sees_names:
        raise RequestError(HTTPStatus.FORBIDDEN, "to ask for a person needs the role enroller")
    for name, value in (("after", query.after), ("before", query.before)):
        if value is not None and not math.isfinite(value):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"{name} must be a number of seconds")
    wanted = EventFilter(
        query.camera, query.label, query.place, query.person, query.severity, query.after,
        query.before, query.seen, query.protected,
    )  # fmt: skip
    records = require_archive(call.node).index.find_events(
        wanted, query.limit, read_cursor(query.cursor)
    )
    entries = tuple(describe_event(record, names=call.sees_names) for record in records)
    cursor = write_cursor(records[-1]) if len(records) == query.limit else ""
    return EventPage(entries, cursor)


def show_event(call: Call[Query, None]) -> EventEntry:
    """One event."""
    return describe_event(_get_record(call), names=call.sees_names)


def mark_seen(call: Call[Query, SeenMark]) -> EventEntry:
    """Mark one event as seen, or not."""
    event_id = call.get_part("event_id")
    require_archive(call.node).index.mark_seen([event_id], seen=call.body.seen)
    record = _get_record(call)
    call.node.changes.add_event(EventChange.UPDATED, record)  # for pages that are open elsewhere
    return describe_event(record, names=call.sees_names)


def protect_event(call: Call[Query, Protection]) -> EventEntry:
    """Have one event stay, or no longer."""
    record = _get_record(call)
    require_archive(call.node).index.protect(record.event.event_id, protected=call.body.protected)
    record = _get_record(call)
    call.node.changes.add_event(EventChange.UPDATED, record)
    return describe_event(record, names=call.sees_names)


def delete_event(call: Call[Query, None]) -> None:
    """Delete one event; its files go within seconds."""
    record = _get_record(call)
    if not require_archive(call.node).index.doom(record.event.event_id):
        raise RequestError(
            HTTPStatus.CONFLICT,
            "the event is protected: take its protection away first"
            if record.protected
            else "the event is still going on: delete it when it is over",
        )
    call.node.changes.add_deletion(record)


def show_snapshot(call: Call[PictureQuery, None]) -> Response:
    """The picture of an event: the file itself, or drawn anew."""
    archive, event_id = require_archive(call.node), call.get_part("event_id")
    file = stored_files.find_file(archive, event_id, FileKind.SNAPSHOT)
    if not (call.query.boxes or call.query.height):
        return stored_files.respond(archive, file)
    best = _get_record(call).event.best
    picture = read_picture(stored_files.resolve(archive, file))
    boxes, labels = np.zeros((0, 4), np.float32), list[str]()
    if call.query.boxes and best is not None:
        scale = np.array(picture.size_wh, np.float32) / np.array(best.size_wh, np.float32)
        boxes = (np.array(best.xyxy, np.float32) * np.tile(scale, 2))[None]
        labels = [f"{best.label} {best.score:.2f}"]
    jpeg = encode_still(picture, boxes, labels, call.query.height)
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, no-cache"})


def show_thumbnail(call: Call[Query, None]) -> Response:
    """The small picture of an event."""
    archive = require_archive(call.node)
    file = stored_files.find_file(archive, call.get_part("event_id"), FileKind.THUMBNAIL)
    return stored_files.respond(archive, file)


def show_clip(call: Call[ClipQuery, None]) -> Response:
    """The clip of an event."""
    archive = require_archive(call.node)
    file = stored_files.find_file(archive, call.get_part("event_id"), FileKind.CLIP)
    name = f"{file.camera}-{file.event_id}.mp4" if call.query.download else ""
    return stored_files.respond(archive, file, name)


def write_cursor(record: EventRecord) -> str:
    """Where the next page begins, opaque to who carries it."""
    text = f"{record.event.began_s!r}:{record.event.event_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[float, str] | None:
    """Where a page begins; None for the first.

    Raises:
        RequestError: It is none that was written here.
    """
    if not cursor:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        began, _, event_id = base64.b64decode(padded, b"-_", validate=True).decode().partition(":")
        began_s = float(began)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        began_s, event_id = math.nan, ""
    if not (math.isfinite(began_s) and event_id):
        raise RequestError(HTTPStatus.BAD_REQUEST, "cursor must be `next` of the page before")
    return began_s, event_id


def _get_record(call: Call[Any, Any]) -> EventRecord:
    event_id = call.get_part("event_id")
    record = require_archive(call.node).index.get_event(event_id)
    if record is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"there is no event {event_id[:64]!r}")
    return record


ENDPOINTS = (
    Endpoint("GET", "/events", list_events, "List events, newest first.",
             answer=EventPage, query=EventQuery),
    Endpoint("GET", "/events/{event_id}", show_event, "Show an event.", answer=EventEntry),
    Endpoint("PUT", "/events/{event_id}/seen", mark_seen, "Mark an event as seen, or not.",
             answer=EventEntry, body=SeenMark),
    Endpoint("PUT", "/events/{event_id}/protected", protect_event,
             "Protect an event from being deleted for its age or for room, or no longer.",
             role=Role.ADMIN, answer=EventEntry, body=Protection),
    Endpoint("DELETE", "/events/{event_id}", delete_event,
             "Delete an event with its pictures and its clip.", role=Role.ADMIN),
    Endpoint("GET", "/events/{event_id}/snapshot.jpg", show_snapshot, "The picture of an event.",
             answer="image/jpeg", query=PictureQuery),
    Endpoint("GET", "/events/{event_id}/thumbnail.jpg", show_thumbnail,
             "The small picture of an event.", answer="image/jpeg"),
    Endpoint("GET", "/events/{event_id}/clip.mp4", show_clip,
             "The clip of an event, also in ranges.", answer="video/mp4", query=ClipQuery,
             stay="working"),
)  # fmt: skip
