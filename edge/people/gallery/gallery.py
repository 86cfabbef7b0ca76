"""The gallery: enrolled people, encrypted at rest, consistent after any crash.

A gallery belongs to one embedder, by the hash of its file: embeddings of different models cannot
be compared. Without the master key the file reveals how many people there are, how many templates
each has and when something was done, and nothing more.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from edge.compat import Self
from edge.errors import GalleryError
from edge.people.gallery.audit_log import Action
from edge.people.gallery.audit_trail import AuditTrail
from edge.people.gallery.encryption import MasterKey
from edge.people.gallery.hub_copy import HubCopy
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.gallery.lease_time import LeaseTime
from edge.people.gallery.lockout import ChallengeAttempts
from edge.people.gallery.metadata import EmbedderId
from edge.people.gallery.names import normalize_name
from edge.people.gallery.records import (
    Person,
    PersonDetails,
    Record,
    RecordState,
    TemplateKind,
    compute_expiry_s,
)
from edge.people.gallery.store import GalleryStore, Generation
from edge.types import F32


class Gallery:
    """An open gallery. Use it in a ``with``, in one thread.

    Args:
        embedder: What templates are compared with; None for work that compares nothing.
        create: Make the file if it does not exist; needs an embedder.
        accept: Take the file for genuine although it was changed by hand, or is older than the one
            whose audit log had this head (empty for none); the log keeps that.
        inspect: Open it even if it was tampered with; it cannot be changed.
        change_embedder: Let a gallery of another embedder change over; its people are not
            recognized until they are enrolled again.

    Raises:
        GalleryError: There is no such file, the key is wrong, it belongs to another embedder, or
            it is damaged. Every method raises it, too, when the file cannot be read or written.

    Attributes:
        hub: What it has from the hub of a fleet, if it follows one. Then people are changed there.
        suspended: Why the last `index` is empty although people are enrolled; else empty.
    """

    def __init__(
        self,
        path: Path,
        key: MasterKey,
        embedder: EmbedderId | None = None,
        *,
        create: bool = False,
        change_embedder: bool = False,
        accept: str | None = None,
        inspect: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = GalleryStore(
            path, key, embedder, create=create, change_embedder=change_embedder, accept=accept,
            inspect=inspect, clock=clock,
        )  # fmt: skip
        self.attempts = ChallengeAttempts(self.store)
        self.audit = AuditTrail(self.store)
        self.hub = HubCopy(self.store, self._changing)
        self.suspended = ""
        self._forget_index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.store.database.close()

    # --- reading --------------------------------------------------------------------------------

    @property
    def embedder(self) -> EmbedderId:
        """The model this gallery belongs to."""
        with self.store.database.reading():
            return self.store.metadata.embedder()

    @property
    def generation(self) -> int:
        """The number of changes so far."""
        with self.store.database.reading():
            return self.store.metadata.generation()

    def people(self) -> list[Person]:
        """Everybody in the gallery, in any state."""
        with self.store.database.reading():
            return [self.store.read(person).person for person in self.store.records.ids()]

    def find(self, name: str) -> Record:
        """The record of a person, by name (in any case) or id.

        Raises:
            GalleryError: No person has that name.
        """
        with self.store.database.reading():
            return self.store.read(self.store.get_id(name))

    def calibration(self) -> dict[str, float] | None:
        """What `set_calibration` stored for this embedder, or None.

        Raises:
            GalleryError: It was tampered with.
        """
        with self.store.database.reading():
            return self.store.metadata.calibration(self.store.keys)

    # --- searching ------------------------------------------------------------------------------

    def index(self) -> Index:
        """A snapshot to search: people who are enrolled with this embedder and not expired.

        A damaged record is left out whole: `people` lists it. Where a hub has not allowed naming,
        or no longer, nobody is in it.

        Raises:
            GalleryError: The gallery changed over to another embedder meanwhile.
        """
        store, now_s = self.store, self.store.clock()
        self._version = store.database.version()
        with store.reading_genuine():
            store.refuse_other_embedder()
            generation, embedder = store.metadata.generation(), store.metadata.embedder()
            everybody = store.records.refresh(embedder.sha256, now_s)
            membership = store.metadata.membership(store.keys)
        store.see_head()
        begin_s, end_s, self.suspended = float("-inf"), float("inf"), ""
        if membership:
            lease = self._lease_time.take(membership.lease, now_s)
            self.suspended = lease.explain(now_s)
            begin_s, end_s = lease.find_span(now_s)
            everybody = [] if self.suspended else everybody
        active = [r for r in everybody if r.person.state is RecordState.ACTIVE and len(r.own)]
        ends = [compute_expiry_s(record.person.details.until) for record in active]
        self._indexed = generation, begin_s, min([*ends, end_s])
        self._lease_time.see(now_s)
        return Index.build(
            [IndexedPerson(record.person.id, record.person.name) for record in active],
            [record.own for record in active],
            [record.negatives for record in active],
            embedder.dimension,
        )

    def changed(self) -> bool:
        """Whether `index` would now give another one; cheap enough to call many times a second.

        Notices what other processes wrote, people whose retention date has passed, the end of what
        a hub allowed, a clock that is set back meanwhile, and a file that was replaced by another
        one, which is then opened.

        Raises:
            GalleryError: The file is gone, or its replacement cannot be used.
        """
        database = self.store.database
        if database.was_replaced():
            self.store.reopen()
            self._forget_index()
            return True
        version, (generation, begin_s, end_s) = database.version(), self._indexed
        now_s = self.store.clock()
        earliest_s = self._lease_time.see(now_s)
        if not begin_s <= now_s < end_s or (now_s < earliest_s and not self.suspended):
            return True
        if version == self._version:
            return False
        if self.generation != generation:
            return True
        self._version = version  # only the audit log was written
        return False

    def _forget_index(self) -> None:
        self._version = -1
        self._lease_time = LeaseTime(self.hub.see)
        # of the last index: its generation, and from when until when time alone changes nothing
        self._indexed = -1, float("-inf"), float("inf")

    # --- changing -------------------------------------------------------------------------------

    def enroll(
        self,
        name: str,
        templates: F32,
        *,
        consent: bool,
        until: date | None = None,
        replace_templates: bool = False,
        boxes: Sequence[str] | None = None,
    ) -> Person:
        """Enroll a person, or give an enrolled one more templates; all of it or nothing.

        Args:
            name: 1 to 100 printable characters; case makes no difference.
            templates: ``(T, D)`` float32, T at least 1, unit length.
            consent: The person agreed; nothing is stored otherwise.
            until: Last day (UTC) the data may be kept; None leaves it as it was, or open.
            replace_templates: Drop the templates the person had, negative ones included.
            boxes: Boxes of a fleet at which the consent holds; None leaves them as they were.

        Raises:
            GalleryError: No consent, a day that has passed, an invalid name, or unusable
                templates.
        """
        require_consent(given=consent)
        name = normalize_name(name)
        store, now_s = self.store, self.store.clock()
        with self._changing_here() as change:
            store.check_templates(templates)
            person = store.records.find_id(name)
            if person is None:
                person = uuid.uuid4().hex
                first = PersonDetails(name, now_s, now_s, "", 0, 0)
                store.records.create(person, first, change.model, change.number)
            before = store.read_intact(person).person
            starts_anew = replace_templates or before.state is RecordState.OTHER_EMBEDDER
            details = replace(
                before.details,
                consent_s=now_s,
                until=until.isoformat() if until else before.details.until,
                boxes=before.details.boxes if boxes is None else tuple(boxes),
            )
            if starts_anew:
                store.records.drop_templates(person)
                details = replace(details, templates=0, lookalikes=0)
            refuse_past(details.until, now_s)
            self._add(person, details, TemplateKind.OWN, templates, change)
            store.audit.append(now_s, Action.ENROLL, person, templates=len(templates))
        if starts_anew:
            store.database.scrub()
        return self.find(person).person

    def add_negatives(self, name: str, templates: F32) -> Person:
        """Add negative templates, ``(V, D)``: faces that are not this person, however similar."""
        store = self.store
        with self._changing_here() as change:
            store.check_templates(templates)
            person = store.read_intact(store.get_id(name)).person
            if person.state is RecordState.OTHER_EMBEDDER:
                raise GalleryError(f"{person.name} must first be enrolled again: edge enroll")
            self._add(person.id, person.details, TemplateKind.LOOKALIKE, templates, change)
            store.audit.append(store.clock(), Action.LOOKALIKE, person.id, templates=len(templates))
        return self.find(person.id).person

    def rename(self, name: str, new_name: str) -> Person:
        """Give a person another name; the id stays.

        Raises:
            GalleryError: No person has the old name, or another person has the new one.
        """
        new_name = normalize_name(new_name)
        store = self.store
        with self._changing_here() as change:
            person = store.get_id(name)
            if store.records.find_id(new_name) not in (None, person):
                raise GalleryError(f"another person has the name {new_name!r}: choose another name")
            details = replace(store.read_intact(person).person.details, name=new_name)
            store.records.update(person, details, store.records.get_model(person), change.number)
            store.audit.append(store.clock(), Action.RENAME, person)
        store.database.scrub()
        return self.find(person).person

    def set_scope(self, name: str, boxes: Sequence[str]) -> Person:
        """Say at which boxes of a fleet the consent of a person holds; at none without any.

        Raises:
            GalleryError: No person has that name.
        """
        store = self.store
        with self._changing_here() as change:
            person = store.get_id(name)
            details = replace(store.read_intact(person).person.details, boxes=tuple(boxes))
            store.records.update(person, details, store.records.get_model(person), change.number)
            store.audit.append(store.clock(), Action.SCOPE, person, boxes=len(boxes))
        return self.find(person).person

    def forget(self, name: str) -> str:
        """Destroy the key of a person (name or id) and everything encrypted with it.

        Returns:
            The id, by which the audit log still refers to the person.

        Raises:
            GalleryError: No person has that name; or the person is forgotten, but another process
                holds old pages of the file.
        """
        store = self.store
        with self._changing_here():
            person = store.get_id(name)
            store.records.delete(person)
            store.audit.append(store.clock(), Action.FORGET, person)
        store.database.scrub()
        return person

    def purge(self) -> list[str]:
        """Forget everybody whose retention date has passed; remove old pages in any case.

        Returns:
            Their names.
        """
        store = self.store
        expired = [
            person for person in self.people()
            if store.clock() >= compute_expiry_s(person.details.until)
        ]  # fmt: skip
        if expired:
            with self._changing():
                for person in expired:
                    store.records.delete(person.id)
                    store.audit.append(store.clock(), Action.PURGE, person.id)
        store.database.scrub()
        return [person.name for person in expired]

    def set_calibration(self, values: Mapping[str, float]) -> None:
        """Store measured thresholds, encrypted; they belong to this embedder."""
        store = self.store
        with self._changing_here():
            store.metadata.set_calibration(store.keys, values)
            store.audit.append(store.clock(), Action.CALIBRATE, values=dict(values))

    @contextlib.contextmanager
    def _changing_here(self) -> Iterator[Generation]:
        """A change that is not the hub's.

        Raises:
            GalleryError: The gallery follows a hub.
        """
        with self._changing() as change:
            if self.store.metadata.membership(self.store.keys):
                raise GalleryError(
                    "its people come from the hub of the fleet: enroll, change and forget them "
                    "there, with edge enroll, edge people and edge hub people"
                )
            yield change

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Generation]:
        self._version = -1  # SQLite does not report a connection's own writes
        with self.store.changing() as change:
            yield change

    def _add(
        self,
        person: str,
        details: PersonDetails,
        kind: TemplateKind,
        templates: F32,
        change: Generation,
    ) -> None:
        own, negatives = details.templates, details.lookalikes
        if kind is TemplateKind.OWN:
            own += len(templates)
        else:
            negatives += len(templates)
        records = self.store.records
        details = replace(details, templates=own, lookalikes=negatives)
        records.update(person, details, change.model, change.number)
        records.add_templates(person, kind, templates, change.model, change.number)


def require_consent(*, given: bool) -> None:
    """Raise a `GalleryError` without the person's consent."""
    if not given:
        raise GalleryError(
            "faces are enrolled with the person's consent only: ask, then give --consent"
        )


def refuse_past(until: str, now_s: float) -> None:
    """Raise a `GalleryError` for a retention date (ISO or empty) passed at ``now_s`` (Unix)."""
    if now_s >= compute_expiry_s(until):
        raise GalleryError(f"{until} has passed: give a later day with --until")
