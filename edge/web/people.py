"""People: who is enrolled, from photos and events; who is not who; who is forgotten."""

from __future__ import annotations

import threading
from datetime import date, datetime
from http import HTTPStatus

from edge.compat import UTC
from edge.event import EventChange
from edge.web.endpoint import Call, Endpoint
from edge.web.events import describe_event, require_archive
from edge.web.ports import EnrolledPerson, Node, People
from edge.web.problem import RequestError
from edge.web.schema import (
    Denial,
    EnrollQuery,
    EventEnrollment,
    EventEntry,
    PersonEntry,
    PersonList,
    Query,
    Role,
)

MAX_PHOTO_BYTES = 20 << 20
PHOTOS = ("image/jpeg", "image/png")


def require_people(node: Node) -> People:
    """The gallery.

    Raises:
        RequestError: There is none.
    """
    if node.people is None:
        raise RequestError(
            HTTPStatus.NOT_FOUND, "this node recognizes nobody: set recognition.gallery for that"
        )
    return node.people


class PeopleDesk:
    """The gallery, for one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def list_people(self, call: Call[Query, None]) -> PersonList:
        """Everybody who is enrolled."""
        return PersonList(tuple(map(_describe, require_people(call.node).list_people())))

    def enroll_photo(self, call: Call[EnrollQuery, bytes]) -> PersonEntry:
        """Enroll the face in a photo."""
        query, people = call.query, require_people(call.node)
        _require_consent(query.consent, query.until)
        with self._lock:
            return _describe(people.enroll_photo(query.name, call.body, query.until))

    def enroll_event(self, call: Call[Query, EventEnrollment]) -> PersonEntry:
        """Enroll the face that an event shows."""
        wanted, people = call.body, require_people(call.node)
        _require_consent(wanted.consent, wanted.until)
        self._require_event(call.node, wanted.event)
        with self._lock:
            return _describe(people.enroll_event(wanted.name, wanted.event, wanted.until))

    def deny(self, call: Call[Query, Denial]) -> EventEntry:
        """Take a name away from an event, and the face of the event from the name."""
        node, person, event_id = call.node, call.get_part("person"), call.body.event
        people = require_people(node)
        self._require_event(node, event_id)
        with self._lock:
            try:
                people.deny(person, event_id)
            except LookupError as error:
                raise _explain_missing(person) from error
        record = require_archive(node).index.deny_person(event_id, person)
        if record is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no event {event_id[:64]!r}")
        node.changes.add_event(EventChange.UPDATED, record)
        return describe_event(record, names=call.sees_names)

    def forget(self, call: Call[Query, None]) -> None:
        """Forget a person, here and in all events."""
        node, person = call.node, call.get_part("person")
        people = require_people(node)
        with self._lock:
            try:
                people.forget(person)
            except LookupError as error:
                raise _explain_missing(person) from error
        if node.archive:
            node.archive.index.forget_person(person)
        node.changes.forget_person(person)

    def _require_event(self, node: Node, event_id: str) -> None:
        if require_archive(node).index.get_event(event_id) is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no event {event_id[:64]!r}")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return (
            Endpoint("GET", "/people", self.list_people, "List who is enrolled.",
                     role=Role.ENROLLER, answer=PersonList),
            Endpoint("POST", "/people/photo", self.enroll_photo,
                     "Enroll the one face in a photo, which is the body.", role=Role.ENROLLER,
                     answer=PersonEntry, query=EnrollQuery, body=PHOTOS,
                     max_bytes=MAX_PHOTO_BYTES, stay="working"),
            Endpoint("POST", "/people/event", self.enroll_event,
                     "Enroll the face that the snapshot of an event shows.", role=Role.ENROLLER,
                     answer=PersonEntry, body=EventEnrollment, stay="working"),
            Endpoint("POST", "/people/{person}/denials", self.deny,
                     "Say that an event does not show a person: the name is taken from the event, "
                     "and the face is never again taken for theirs.", role=Role.ENROLLER,
                     answer=EventEntry, body=Denial, stay="working"),
            Endpoint("DELETE", "/people/{person}", self.forget,
                     "Forget a person for good: all that is stored about them, and their name in "
                     "all events.", role=Role.ENROLLER, stay="working"),
        )  # fmt: skip


def _describe(person: EnrolledPerson) -> PersonEntry:
    return PersonEntry(
        person.person, person.name, person.templates, person.enrolled_s, person.until, person.state
    )


def _require_consent(given: bool, until: date | None) -> None:
    if not given:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "faces are enrolled with the person's consent only: ask, then send consent=true",
        )
    if until is not None and until < datetime.now(UTC).date():
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{until} has passed: give a later day")


def _explain_missing(person: str) -> RequestError:
    return RequestError(HTTPStatus.NOT_FOUND, f"nobody has the id {person[:64]!r}")
