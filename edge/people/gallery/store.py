"""The store: an open gallery file, unlocked, with the parts that its database holds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import GalleryError, GalleryRefusedError
from edge.people.gallery import audit_log, metadata, records
from edge.people.gallery.audit_log import HEAD_LENGTH, Action, AuditLog
from edge.people.gallery.database import APPLICATION_ID, Database
from edge.people.gallery.encryption import KeyStore, MasterKey
from edge.people.gallery.index import UNIT_TOLERANCE
from edge.people.gallery.metadata import EmbedderId, Metadata
from edge.people.gallery.records import Record, Records, RecordState, has_fingerprints
from edge.people.gallery.seal import Seal, SeenHead
from edge.types import F32


@dataclass(frozen=True, slots=True)
class Generation:
    """A change in progress: its number, and the sha256 of the embedder it belongs to."""

    number: int
    model: str


class GalleryStore:
    """An open gallery file, used by one thread; its arguments are those of `Gallery`.

    The transactions of `database` enclose every use of `metadata`, `records` and `audit`.
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
        self._path = path
        self._key = key
        self._embedder = embedder
        self._inspect = inspect
        self._changed: int | None = None  # number of the change in progress
        self._is_sealed = self._accepting = False
        self.clock = clock
        self._open(create=create, change_embedder=change_embedder, accept=accept)

    def reopen(self) -> None:
        """Open the file that is at the path now."""
        self.database.close()
        self._open(create=False, change_embedder=False)

    def _open(self, *, create: bool, change_embedder: bool, accept: str | None = None) -> None:
        self.database = Database(self._path, create=create)
        try:
            self.metadata = Metadata(self.database.connection)
            if create and self.database.is_empty():
                self._initialize()
            self._unlock(accept=accept)
            with self.database.reading():
                is_new = create and not self.records.ids()
            self._settle_embedder(change=change_embedder or is_new)
        except BaseException:
            self.database.close()
            raise

    def _initialize(self) -> None:
        if self._embedder is None:
            raise ValueError("a new gallery needs an embedder")
        gallery_id = os.urandom(16)
        keys = KeyStore(self._key, gallery_id)
        with self.database.writing() as connection:
            if not self.database.is_empty():
                return  # another process was faster
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            tables = metadata.TABLES + audit_log.TABLES + records.TABLES + records.FINGERPRINTS
            for statement in tables.split(";"):
                connection.execute(statement)
            self.metadata.initialize(gallery_id, keys.check_value, self._embedder)
            audit = AuditLog(connection, keys.audit_key)
            audit.append(self.clock(), Action.CREATE, sealed=True)
            Seal(connection, keys.seal_key).write(audit.head())

    def _unlock(self, *, accept: str | None) -> None:
        with self.database.reading() as connection:
            if self.database.is_empty():
                raise GalleryError(f"gallery {self._path} is empty: use `edge enroll` first")
            gallery_id, check_value = self.metadata.identity()
        self.keys = KeyStore(self._key, gallery_id)
        if check_value != self.keys.check_value:
            raise GalleryError(
                f"the key does not open gallery {self._path}: give the key it was made with"
            )
        self.records = Records(connection, self.keys)
        self.audit = AuditLog(connection, self.keys.audit_key)
        self._seal = Seal(connection, self.keys.seal_key)
        self._seen = SeenHead(gallery_id)
        if self._inspect:
            self.database.before_commit = self._refuse_change
            return
        if accept is None:
            with self.reading_genuine(whole_log=True):
                pass
        else:
            with self.database.reading():
                self.audit.verify()
        self.database.after_begin = self._verify_before
        self.database.before_commit = self._write_seal
        self.database.after_commit = self.see_head
        if accept is not None:
            self._refuse_genuine(accept)
            self._accepting = True
            with self.changing():
                self.audit.append(self.clock(), Action.ACCEPT, instead_of=accept)
                self._require_seen(accept)
            self._accepting = False
        self.see_head()

    @contextlib.contextmanager
    def reading_genuine(self, *, whole_log: bool = False) -> Iterator[None]:
        """A snapshot whose tables belong together, and are not those of an older copy.

        Args:
            whole_log: Check each entry of the audit log first.

        Raises:
            GalleryError: The gallery was changed without its key, or an older copy was put in its
                place.
        """
        seen = self._seen.read()  # first: what others change meanwhile is in the snapshot, too
        with self.database.reading():
            if whole_log:
                self.audit.verify()
            self._check_seal(seen)
            yield

    def _check_seal(self, seen: str) -> None:
        self._check_age(seen)
        self._is_sealed = self.audit.is_sealed()
        if self._is_sealed:
            self._seal.verify(self.audit.head())

    def _check_age(self, seen: str) -> None:
        if seen and not self.audit.contains(seen):
            raise GalleryRefusedError(
                f"the gallery {self._path} is an older copy of the one that was here, or another "
                "branch of it, and may hold people who were forgotten: put the newer one back, or "
                f"run `edge people accept --head {seen[:HEAD_LENGTH]}` with its --gallery and "
                "--key, and see who is in it"
            )

    def _require_seen(self, head: str) -> None:
        """Raise unless the head that was seen last is the one that is given up."""
        try:
            self._check_age(self._seen.read())  # nobody else changes the gallery in the meantime
        except GalleryRefusedError as error:
            raise GalleryError(
                f"the gallery is an older copy, and {head!r} is not the head that was seen here: "
                "give the one that the refusal names"
            ) from error

    def _refuse_genuine(self, head: str) -> None:
        """Raise if there is nothing to accept: for this user, or for the one who saw ``head``."""
        with self.database.reading():
            if head and not self.audit.contains(head):
                return
        try:
            with self.reading_genuine():
                pass
        except GalleryRefusedError:
            return
        raise GalleryError("the gallery is genuine as far as this user knows: nothing to accept")

    def _refuse_change(self) -> None:
        raise GalleryError("the gallery was opened for inspection: it cannot be changed")

    def _verify_before(self) -> None:
        """Check before a change that it does not seal what was tampered with meanwhile."""
        self._changed = None
        self._is_sealed = self._is_sealed or self.audit.is_sealed()
        if self._is_sealed and not self._accepting:
            self._seal.verify(self.audit.head())

    def _write_seal(self) -> None:
        if not has_fingerprints(self.database.connection):
            self.database.connection.execute(records.FINGERPRINTS)
            self.records.store_fingerprints(None)
        elif self._changed is not None:
            self.records.store_fingerprints(self._changed)
        if not self._is_sealed:
            self.audit.append(self.clock(), Action.SEAL)
        self._seal.write(self.audit.head())

    def see_head(self) -> None:
        """Remember outside the gallery how far its audit log goes."""
        if self._inspect:
            return
        with self.database.reading():
            head = self.audit.head()
        if head != self._seen.read():
            self._seen.advance(self._find_next_head)

    def _find_next_head(self, seen: str) -> str:
        """The head there is now, or ``seen`` if it does not follow that one."""
        with self.database.reading():
            return self.audit.head() if not seen or self.audit.contains(seen) else seen

    # --- the embedder ---------------------------------------------------------------------------

    def _settle_embedder(self, *, change: bool) -> None:
        """Refuse a gallery of another embedder, or change it over if that is wanted."""
        with self.database.reading():
            if not change:
                self.refuse_other_embedder()
            is_other = self._embedder and self._embedder.sha256 != self.metadata.embedder().sha256
        if self._embedder and is_other and change:
            with self.changing():
                if self.metadata.membership(self.keys) and self.records.ids():
                    raise GalleryError(
                        "its people come from the hub of the fleet: change the embedder there"
                    )
                self.change_embedder(self._embedder)

    def use_embedder(self, embedder: EmbedderId) -> None:
        """Compare with this embedder from now on."""
        self._embedder = embedder

    def change_embedder(self, embedder: EmbedderId) -> None:
        """Make the gallery belong to another embedder, inside a change."""
        self.metadata.set_embedder(embedder)
        self.audit.append(self.clock(), Action.EMBEDDER, model=embedder.sha256[:12])

    def refuse_other_embedder(self) -> None:
        """Raise a `GalleryError` if the gallery holds people of another embedder."""
        ours, gallerys = self._embedder, self.metadata.embedder()
        if ours is None or ours.sha256 == gallerys.sha256 or not self.records.ids():
            return
        raise GalleryError(
            f"gallery {self._path} was enrolled with {gallerys.name} ({gallerys.sha256[:12]}), not "
            f"with {ours.name} ({ours.sha256[:12]}), and their templates cannot be compared: use "
            "that model, or enroll everybody again with `edge enroll --folder PHOTOS --consent "
            f"--change-embedder --gallery {self._path} --embedder MODEL`"
        )

    def check_templates(self, templates: F32) -> None:
        """Raise a `GalleryError` for templates that cannot be of the gallery's embedder."""
        embedder = self.metadata.embedder()
        if self._embedder is None or self._embedder.sha256 != embedder.sha256:
            raise GalleryError(f"the gallery belongs to {embedder.name}: give --embedder")
        if templates.ndim != 2 or not len(templates) or templates.shape[1] != embedder.dimension:
            raise GalleryError(
                f"templates must be (T, {embedder.dimension}), got {templates.shape}"
            )
        if not np.all(np.abs(np.linalg.norm(templates, axis=1) - 1) <= UNIT_TOLERANCE):
            raise GalleryError("templates must have unit length: does the embedder work?")

    # --- inside transactions --------------------------------------------------------------------

    @contextlib.contextmanager
    def changing(self) -> Iterator[Generation]:
        """A transaction that makes a new generation."""
        with self.database.writing():
            number = self._changed = self.metadata.advance()
            yield Generation(number, self.metadata.embedder().sha256)

    def get_id(self, name: str) -> str:
        """The id of a person, by name (in any case) or id; a `GalleryError` if there is none."""
        person = self.records.find_id(name)
        if person is None:
            raise GalleryError(f"{name!r} is not enrolled: see `edge people list`")
        return person

    def read(self, person: str) -> Record:
        """The record of a person, which may be damaged."""
        return self.records.read(person, self.metadata.embedder().sha256, self.clock())

    def read_intact(self, person: str) -> Record:
        """The record of a person; a `GalleryError` if it is damaged."""
        record = self.read(person)
        if record.person.state is RecordState.DAMAGED:
            raise GalleryError(
                f"the record {person} is damaged: restore the gallery from a backup, or remove "
                f"the record with `edge people forget {person}`"
            )
        return record
