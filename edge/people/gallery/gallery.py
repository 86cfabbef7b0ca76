"""The gallery: enrolled people, sealed at rest, whole after any crash.

A gallery belongs to one embedder, by the hash of its file: similarities of another one mean
nothing. Whoever may look into the file without the master key learns how many people there are,
how many templates each has and when something was done, no more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

import numpy as np

from edge.errors import GalleryError
from edge.people.gallery import audit_log as audit
from edge.people.gallery import metadata as settings
from edge.people.gallery import records
from edge.people.gallery.audit_log import Action, AuditLog, Entry
from edge.people.gallery.database import APPLICATION_ID, Database
from edge.people.gallery.encryption import MasterKey, Vault
from edge.people.gallery.index import UNIT_TOLERANCE, Index, Known
from edge.people.gallery.lockout import locked_s
from edge.people.gallery.metadata import EmbedderId, Settings
from edge.people.gallery.records import Details, Kind, Person, Record, Records, State, expires_s
from edge.types import F32

MOST_NAME = 100


@dataclass(frozen=True, slots=True)
class Generation:
    """A change that is being made: its number, and the sha256 of the embedder it belongs to."""

    number: int
    model: str


class Gallery:
    """An open gallery. Use it in a ``with``, in one thread.

    Args:
        path: the file.
        key: the master key.
        embedder: what templates are compared with; None for work that compares nothing.
        create: make one where there is none; needs an embedder.
        change_embedder: let a gallery of another embedder change over; its people are not
            recognised until they are enrolled again.
        clock: Unix seconds.

    Raises:
        GalleryError: there is none, the key is wrong, it belongs to another embedder, or it is
            damaged. Every method raises it, too, when the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        key: MasterKey,
        embedder: EmbedderId | None = None,
        *,
        create: bool = False,
        change_embedder: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._key = key
        self._wanted = embedder
        self._clock = clock
        self._open(create=create, change_embedder=change_embedder)

    def __enter__(self) -> Self:
        """The gallery itself; it was opened when it was made."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- looking --------------------------------------------------------------------------------

    @property
    def embedder(self) -> EmbedderId:
        """The model this gallery belongs to."""
        with self._database.reading():
            return self._settings.embedder()

    @property
    def generation(self) -> int:
        """Counts the changes."""
        with self._database.reading():
            return self._settings.generation()

    def people(self) -> list[Person]:
        """Everybody in the gallery, whether to be recognised or not."""
        with self._database.reading():
            return [self._read(person).person for person in self._records.ids()]

    def find(self, name: str) -> Record:
        """The record of a person, by name (in any case) or id.

        Raises:
            GalleryError: there is nobody of that name.
        """
        with self._database.reading():
            return self._read(self._id_of(name))

    def index(self) -> Index:
        """A snapshot to search: people who are enrolled with this embedder and not expired.

        A damaged record is left out whole: `people` names it.

        Raises:
            GalleryError: the gallery changed over to another embedder meanwhile.
        """
        self._version = self._database.version()
        with self._database.reading():
            self._refuse_other_embedder()
            generation, embedder = self._settings.generation(), self._settings.embedder()
            everybody = self._records.refresh(embedder.sha256, self._clock())
        active = [r for r in everybody if r.person.state is State.ACTIVE and len(r.own)]
        ends = [expires_s(record.person.details.until) for record in active]
        self._seen = generation, min(ends, default=float("inf"))
        return Index.of(
            [Known(record.person.id, record.person.name) for record in active],
            [record.own for record in active],
            [record.lookalikes for record in active],
            embedder.dimension,
        )

    def changed(self) -> bool:
        """Whether `index` would now give another one; cheap enough to ask many times a second.

        Notices what other processes wrote, people whose time is over, and a file that was
        replaced by another one, which is opened anew.

        Raises:
            GalleryError: the file is gone, or its replacement cannot be used.
        """
        if self._database.was_replaced():
            self._database.close()
            self._open()
            return True
        version, (generation, end_s) = self._database.version(), self._seen
        if self._clock() >= end_s:
            return True
        if version == self._version:
            return False
        if self.generation != generation:
            return True
        self._version = version  # somebody wrote, but only into the audit log
        return False

    def calibration(self) -> dict[str, float] | None:
        """What `set_calibration` stored for this embedder, or None.

        Raises:
            GalleryError: it was tampered with.
        """
        with self._database.reading():
            return self._settings.calibration(self._vault)

    # --- changing -------------------------------------------------------------------------------

    def enroll(
        self,
        name: str,
        templates: F32,
        *,
        consent: bool,
        until: date | None = None,
        replace_templates: bool = False,
    ) -> Person:
        """Enrol a person, or give an enrolled one more templates; all of it or nothing.

        Args:
            name: 1 to 100 printable characters; case makes no difference.
            templates: ``(T, D)`` float32, T at least 1, unit length.
            consent: the person agreed; nothing is stored otherwise.
            until: last day (UTC) the data may be kept; None leaves it as it was, or open.
            replace_templates: drop the templates the person had, look-alikes included.

        Raises:
            GalleryError: no consent, a day that is over, no name, or no sound templates.
        """
        if not consent:
            raise GalleryError(
                "faces are enrolled with the person's consent only: ask, then give --consent"
            )
        name = checked_name(name)
        now_s = self._clock()
        with self._changing() as change:
            self._check(templates)
            person = self._records.id_of(name)
            if person is None:
                person = uuid.uuid4().hex
                first = Details(name, now_s, now_s, "", 0, 0)
                self._records.create(person, first, change.model, change.number)
            before = self._intact(person).person
            starts_anew = replace_templates or before.state is State.OTHER_EMBEDDER
            if starts_anew:
                self._records.drop_templates(person)
            kept = replace(before.details, templates=0, lookalikes=0)
            details = replace(
                kept if starts_anew else before.details,
                consent_s=now_s,
                until=until.isoformat() if until else before.details.until,
            )
            refuse_past(details.until, now_s)
            self._add(person, details, Kind.OWN, templates, change)
            self._audit.append(now_s, Action.ENROLL, person, templates=len(templates))
        if starts_anew:
            self._database.scrub()
        return self.find(person).person

    def add_lookalikes(self, name: str, templates: F32) -> Person:
        """Remember faces that are not this person's, however much they look it.

        Args:
            name: whom they are not.
            templates: ``(V, D)`` float32, V at least 1, unit length.
        """
        with self._changing() as change:
            self._check(templates)
            person = self._intact(self._id_of(name)).person
            if person.state is State.OTHER_EMBEDDER:
                raise GalleryError(f"{person.name} must first be enrolled again: edge enroll")
            self._add(person.id, person.details, Kind.LOOKALIKE, templates, change)
            self._audit.append(self._clock(), Action.LOOKALIKE, person.id, templates=len(templates))
        return self.find(person.id).person

    def rename(self, name: str, new_name: str) -> Person:
        """Give a person another name; the id stays.

        Raises:
            GalleryError: there is nobody of the old name, or somebody else of the new one.
        """
        new_name = checked_name(new_name)
        with self._changing() as change:
            person = self._id_of(name)
            if self._records.id_of(new_name) not in (None, person):
                raise GalleryError(f"somebody else is called {new_name!r}: choose another name")
            details = replace(self._intact(person).person.details, name=new_name)
            self._records.update(person, details, self._records.model_of(person), change.number)
            self._audit.append(self._clock(), Action.RENAME, person)
        self._database.scrub()
        return self.find(person).person

    def forget(self, name: str) -> str:
        """Destroy a person's key and everything sealed with it.

        Args:
            name: name or id; a damaged record is forgotten by its id.

        Returns:
            The id, by which the audit log still knows the person.

        Raises:
            GalleryError: there is nobody of that name; or the person is forgotten, but another
                process holds old pages of the file.
        """
        with self._changing():
            person = self._id_of(name)
            self._records.delete(person)
            self._audit.append(self._clock(), Action.FORGET, person)
        self._database.scrub()
        return person

    def purge(self) -> list[str]:
        """Forget everybody whose retention date is over; remove old pages in any case.

        Returns:
            Their names.
        """
        over = [p for p in self.people() if self._clock() >= expires_s(p.details.until)]
        if over:
            with self._changing():
                for person in over:
                    self._records.delete(person.id)
                    self._audit.append(self._clock(), Action.PURGE, person.id)
        self._database.scrub()
        return [person.name for person in over]

    def set_calibration(self, values: Mapping[str, float]) -> None:
        """Store measured thresholds; they belong to this embedder and are sealed."""
        with self._changing():
            self._settings.set_calibration(self._vault, values)
            self._audit.append(self._clock(), Action.CALIBRATE, values=dict(values))

    # --- the record of it -----------------------------------------------------------------------

    def export(self, name: str) -> dict[str, Any]:
        """Everything that is stored about a person, in plain text: handle it with care.

        Look-alikes are only counted: they are faces of other people.
        """
        with self._database.writing():
            record = self._intact(self._id_of(name))
            person = record.person
            self._audit.append(self._clock(), Action.EXPORT, person.id)
            entries = [asdict(e) for e in self._audit.entries() if e.person == person.id]
        return {
            "id": person.id,
            **asdict(person.details),
            "state": str(person.state),
            "embedder": self.embedder.name,
            "templates_float32_base64": [
                base64.b64encode(row.astype("<f4").tobytes()).decode() for row in record.own
            ],
            "audit": entries,
        }

    def note_comparison(self, person: str, similarity: float, *, same: bool) -> None:
        """Write into the audit log that somebody claimed to be ``person`` (an id)."""
        with self._database.writing():
            self._audit.append(
                self._clock(), Action.VERIFY, person, same=same, similarity=round(similarity, 3)
            )

    def begin_challenge(self) -> None:
        """Write down that somebody tries a live challenge: a failure, until it is passed.

        Raises:
            GalleryError: too many failed of late; says how long to wait.
        """
        with self._database.writing():
            if wait_s := self._locked_s():
                raise GalleryError(
                    f"too many challenges failed: nobody may try for another {wait_s:.0f} s"
                )
            self._audit.append(self._clock(), Action.CHALLENGE, passed=False)

    def pass_challenge(self) -> None:
        """Write down that the challenge that was begun last is passed."""
        with self._database.writing():
            self._audit.append(self._clock(), Action.CHALLENGE, passed=True)

    def locked_s(self) -> float:
        """How long nobody may try a challenge; survives a restart, for the audit log tells.

        Raises:
            GalleryError: the audit log was tampered with.
        """
        with self._database.reading():
            return self._locked_s()

    def audit(self) -> list[Entry]:
        """The audit log as it stands: `verify_chain` says whether it is genuine."""
        with self._database.reading():
            return list(self._audit.entries())

    def verify_chain(self) -> int:
        """Check the audit log, and that exactly the people it tells of are here.

        Returns:
            The number of entries.

        Raises:
            GalleryError: tampered with.
        """
        with self._database.reading():
            count = self._audit.verify()
            expected: set[str] = set()
            for entry in self._audit.entries():
                if entry.action == Action.ENROLL:
                    expected.add(entry.person)
                elif entry.action in (Action.FORGET, Action.PURGE):
                    expected.discard(entry.person)
            differing = expected.symmetric_difference(self._records.ids())
        if differing:
            raise GalleryError(
                f"people came or went without an audit entry ({', '.join(sorted(differing))}): "
                "restore the gallery from a backup and find out who had access"
            )
        return count

    def _locked_s(self) -> float:
        self._audit.verify()
        failed_s: list[float] = []
        for entry in self._audit.entries():
            if entry.action == Action.CHALLENGE:
                passed = json.loads(entry.detail)["passed"]
                failed_s = [] if passed else [*failed_s, entry.at_s]
        return locked_s(failed_s, self._clock())

    # --- inside ---------------------------------------------------------------------------------

    def _open(self, *, create: bool = False, change_embedder: bool = False) -> None:
        self._database = Database(self._path, create=create)
        try:
            self._settings = Settings(self._database.connection)
            if create and self._database.is_empty():
                self._begin()
            self._unlock()
            nobody = create and not self.people()
            self._settle_embedder(change=change_embedder or nobody)
        except BaseException:
            self._database.close()
            raise
        self._version = -1
        self._seen = -1, float("inf")  # generation and first retention date of the last index

    def _begin(self) -> None:
        if self._wanted is None:
            raise ValueError("a new gallery needs an embedder")
        gallery_id = os.urandom(16)
        vault = Vault(self._key, gallery_id)
        with self._database.writing() as connection:
            if not self._database.is_empty():
                return  # somebody else was faster
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            for statement in f"{settings.TABLES}{audit.TABLES}{records.TABLES}".split(";"):
                connection.execute(statement)
            self._settings.begin(gallery_id, vault.check_value, self._wanted)
            AuditLog(connection, vault.audit_key).append(self._clock(), Action.CREATE)

    def _unlock(self) -> None:
        with self._database.reading() as connection:
            if self._database.is_empty():
                raise GalleryError(f"gallery {self._path} is empty: use `edge enroll` first")
            gallery_id, check_value = self._settings.identity()
        self._vault = Vault(self._key, gallery_id)
        if check_value != self._vault.check_value:
            raise GalleryError(
                f"the key does not open gallery {self._path}: give the key it was made with"
            )
        self._records = Records(connection, self._vault)
        self._audit = AuditLog(connection, self._vault.audit_key)

    def _settle_embedder(self, *, change: bool) -> None:
        """Refuse a gallery of another embedder; let it change over where that was asked for."""
        with self._database.reading():
            if not change:
                self._refuse_other_embedder()
            is_other = self._wanted and self._wanted.sha256 != self._settings.embedder().sha256
        if self._wanted and is_other and change:
            with self._changing():
                self._settings.set_embedder(self._wanted)
                self._audit.append(self._clock(), Action.EMBEDDER, model=self._wanted.sha256[:12])

    def _refuse_other_embedder(self) -> None:
        wanted, mine = self._wanted, self._settings.embedder()
        if wanted is None or wanted.sha256 == mine.sha256 or not self._records.ids():
            return
        raise GalleryError(
            f"gallery {self._path} was enrolled with {mine.name} ({mine.sha256[:12]}), not with "
            f"{wanted.name} ({wanted.sha256[:12]}), and the two do not compare: use that model, "
            "or enrol everybody again with `edge enroll --folder PHOTOS --consent "
            f"--change-embedder --gallery {self._path} --embedder MODEL`"
        )

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Generation]:
        """A transaction that makes a new generation."""
        self._version = -1  # SQLite does not tell a connection of its own writing
        with self._database.writing():
            number = self._settings.advance()
            yield Generation(number, self._settings.embedder().sha256)

    def _add(
        self, person: str, details: Details, kind: Kind, templates: F32, change: Generation
    ) -> None:
        own, lookalikes = details.templates, details.lookalikes
        if kind is Kind.OWN:
            own += len(templates)
        else:
            lookalikes += len(templates)
        details = replace(details, templates=own, lookalikes=lookalikes)
        self._records.update(person, details, change.model, change.number)
        self._records.add_templates(person, kind, templates, change.model, change.number)

    def _read(self, person: str) -> Record:
        return self._records.read(person, self._settings.embedder().sha256, self._clock())

    def _intact(self, person: str) -> Record:
        record = self._read(person)
        if record.person.state is State.DAMAGED:
            raise GalleryError(
                f"the record {person} is damaged: restore the gallery from a backup, or remove "
                f"the record with `edge people forget {person}`"
            )
        return record

    def _id_of(self, name: str) -> str:
        person = self._records.id_of(name)
        if person is None:
            raise GalleryError(f"{name!r} is not enrolled: see `edge people list`")
        return person

    def _check(self, templates: F32) -> None:
        embedder = self._settings.embedder()
        if self._wanted is None or self._wanted.sha256 != embedder.sha256:
            raise GalleryError(f"the gallery belongs to {embedder.name}: give --embedder")
        if templates.ndim != 2 or not len(templates) or templates.shape[1] != embedder.dimension:
            raise GalleryError(
                f"templates must be (T, {embedder.dimension}), got {templates.shape}"
            )
        if not np.all(np.abs(np.linalg.norm(templates, axis=1) - 1) <= UNIT_TOLERANCE):
            raise GalleryError("templates must have unit length: does the embedder work?")


def checked_name(name: str) -> str:
    """A name as it is stored.

    Raises:
        GalleryError: it cannot be one.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise GalleryError(f"a name has 1 to {MOST_NAME} printable characters: choose another")
    return name


def refuse_past(until: str, now_s: float) -> None:
    """Refuse a retention date (ISO, empty is none) that is over at ``now_s`` (Unix).

    Raises:
        GalleryError: it is over.
    """
    if now_s >= expires_s(until):
        raise GalleryError(f"{until} is over: give a later day with --until")
