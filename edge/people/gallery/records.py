"""Person records: what the gallery keeps of one person, and how it is encrypted.

Everything but the person's opaque id is encrypted with a key of that person alone. The associated
data name the person, the embedder and the generation of the change, so that nothing can be moved
from one person, model or time to another; the details count the templates, so that none can be
removed unnoticed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.compat import StrEnum
from edge.people.gallery.encryption import KEY_BYTES, KeyStore, SealError, seal, unseal
from edge.types import F32

TABLES = """
CREATE TABLE person (
    id TEXT PRIMARY KEY, name_tag BLOB NOT NULL UNIQUE, wrapped_key BLOB NOT NULL,
    model TEXT NOT NULL, generation INTEGER NOT NULL, details BLOB NOT NULL
);
CREATE TABLE template (
    row INTEGER PRIMARY KEY, person TEXT NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    kind TEXT NOT NULL, generation INTEGER NOT NULL, sealed BLOB NOT NULL
);
CREATE INDEX template_of_person ON template (person);
"""


EVERY_BOX = "*"


class TemplateKind(StrEnum):
    """What a template is for; the values are stored."""

    OWN = "own"
    LOOKALIKE = "lookalike"  # a negative template: the face of another, similar person


class RecordState(StrEnum):
    """Whether a person can be recognized, and if not, why."""

    ACTIVE = "active"
    EXPIRED = "expired"
    OTHER_EMBEDDER = "other embedder"
    DAMAGED = "damaged"


FINGERPRINTS = """
CREATE TABLE fingerprint (
    person TEXT PRIMARY KEY REFERENCES person (id) ON DELETE CASCADE, value TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class PersonDetails:
    """What is stored of a person beside the templates; the field names are stored, too.

    Attributes:
        enrolled_s: Unix seconds.
        consent_s: When the person's consent was stated, Unix seconds.
        until: Last day (UTC) the data may be kept, as ISO date; empty is without end.
        templates: Number of the person's own templates.
        lookalikes: Number of negative templates.
        boxes: Boxes of a fleet at which the consent holds, `*` for all; stored if there are any.
    """

    name: str
    enrolled_s: float
    consent_s: float
    until: str
    templates: int
    lookalikes: int
    boxes: tuple[str, ...] = ()

    def reaches(self, box: str) -> bool:
        """Whether the consent holds at a box of the fleet."""
        return EVERY_BOX in self.boxes or box in self.boxes


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled person.

    Attributes:
        id: Opaque, stable across renames.
        details: `UNREADABLE` for a damaged record.
        generation: The gallery's generation when the record was last changed.
    """

    id: str
    details: PersonDetails
    state: RecordState
    generation: int

    @property
    def name(self) -> str:
        """The name as it is displayed."""
        return self.details.name


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A person with the templates.

    Attributes:
        own: ``(T, D)`` float32, unit length.
        negatives: ``(V, D)`` float32, unit length: negative templates.
    """

    person: Person
    own: F32
    negatives: F32


_EPOCH, _DAY_S = dt.date(1970, 1, 1), 86_400

UNREADABLE = PersonDetails("", 0, 0, "", 0, 0)


def compute_expiry_s(until: str) -> float:
    """Unix seconds at which a record that may be kept through ``until`` expires."""
    if not until:
        return float("inf")
    days = (dt.date.fromisoformat(until) - _EPOCH).days + 1  # the next day may be no date any more
    return float(days * _DAY_S)


def has_fingerprints(connection: sqlite3.Connection) -> bool:
    """Whether a gallery has the table of fingerprints; those of earlier versions do not."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'fingerprint'"
    return connection.execute(query).fetchone() is not None


class Records:
    """Reads and writes records inside the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, keys: KeyStore) -> None:
        self._connection = connection
        self._keys = keys
        self._opened: dict[tuple[str, int, str], Record] = {}

    def store_fingerprints(self, generation: int | None) -> None:
        """Store what the records of a change are sealed with; None: of everybody."""
        query = "SELECT id, generation, details FROM person"
        rows = (
            self._connection.execute(query)
            if generation is None
            else self._connection.execute(f"{query} WHERE generation = ?", (generation,))
        )
        for person, number, details in rows.fetchall():
            fingerprint = (person, self._compute_fingerprint(person, number, details))
            self._connection.execute(
                "INSERT OR REPLACE INTO fingerprint VALUES (?, ?)", fingerprint
            )

    def _compute_fingerprint(self, person: str, generation: int, details: bytes) -> str:
        """A hash of the GCM tags of a person's details and templates."""
        digest = hashlib.sha256(f"{generation} ".encode() + details[-16:])
        for number, tag in self._connection.execute(
            "SELECT generation, CAST(substr(sealed, -16) AS BLOB) FROM template "
            "WHERE person = ? ORDER BY row",
            (person,),
        ):
            digest.update(f"{number} ".encode() + tag)
        return digest.hexdigest()[:32]

    def _is_latest(self, person: str, generation: int, details: bytes) -> bool:
        """Whether a record is the latest one, and not an earlier one put back."""
        if not has_fingerprints(self._connection):  # of an earlier version
            return True
        row = self._connection.execute("SELECT value FROM fingerprint WHERE person = ?", (person,))
        stored = row.fetchone()
        # a person who was added by the change in progress has none yet
        return stored is None or stored[0] == self._compute_fingerprint(person, generation, details)

    def ids(self) -> list[str]:
        """Ids of all people, in a stable order."""
        return [row[0] for row in self._connection.execute("SELECT id FROM person ORDER BY rowid")]

    def find_id(self, name: str) -> str | None:
        """The id of the person with this name or id, or None."""
        query = "SELECT id FROM person WHERE name_tag = ? OR id = ?"
        row = self._connection.execute(query, (self._keys.compute_name_tag(name), name)).fetchone()
        return row[0] if row else None

    def get_model(self, person: str) -> str:
        """The sha256 of the embedder that a person's templates come from."""
        return str(self._row(person)[2])

    def read(self, person: str, model: str, now_s: float) -> Record:
        """Decrypt a record; one that does not decrypt, or not whole, comes back as damaged.

        ``model`` is the sha256 of the gallery's embedder, ``now_s`` is for the retention date.
        """
        try:
            tag, wrapped, of_model, generation, sealed = self._row(person)
            key = self._keys.unwrap_person_key(person, wrapped)
            details = _parse_details(
                unseal(key, sealed, _about("details", person, of_model, generation))
            )
            own, negatives = self._templates(person, key, of_model)
            if tag != self._keys.compute_name_tag(details.name):
                raise SealError("the name does not match its tag")
            if (len(own), len(negatives)) != (details.templates, details.lookalikes):
                raise SealError("templates are missing")
            if not self._is_latest(person, generation, sealed):
                raise SealError("the record is an earlier one")
        except (SealError, TypeError, ValueError, LookupError):
            none = np.zeros((0, 0), np.float32)
            return Record(Person(person, UNREADABLE, RecordState.DAMAGED, 0), none, none)
        state = RecordState.ACTIVE
        if of_model != model:
            state = RecordState.OTHER_EMBEDDER
        elif now_s >= compute_expiry_s(details.until):
            state = RecordState.EXPIRED
        return Record(Person(person, details, state, generation), own, negatives)

    def refresh(self, model: str, now_s: float) -> list[Record]:
        """Everybody's record; only those that changed since the last call are decrypted again."""
        keys = self._connection.execute("SELECT id, generation, model FROM person ORDER BY rowid")
        opened = {}
        for key in keys.fetchall():
            record = self._opened.get(key)
            if record is None or record.person.state is not RecordState.ACTIVE or key[2] != model:
                record = self.read(key[0], model, now_s)
            elif now_s >= compute_expiry_s(record.person.details.until):
                record = replace(record, person=replace(record.person, state=RecordState.EXPIRED))
            opened[key] = record
        self._opened = opened
        return list(opened.values())

    def derive_key(self, person: str, purpose: str) -> bytes:
        """A key of a person for another purpose than storing; forgotten with the person."""
        info = f"edgewatch gallery 1 {purpose}".encode()
        return HKDF(SHA256(), KEY_BYTES, None, info).derive(self._key(person))

    def create(self, person: str, details: PersonDetails, model: str, generation: int) -> None:
        """Write a new person without templates."""
        key, wrapped = self._keys.create_person_key(person)
        sealed = _seal_details(key, person, details, model, generation)
        tag = self._keys.compute_name_tag(details.name)
        self._connection.execute(
            "INSERT INTO person VALUES (?, ?, ?, ?, ?, ?)",
            (person, tag, wrapped, model, generation, sealed),
        )

    def update(self, person: str, details: PersonDetails, model: str, generation: int) -> None:
        """Encrypt and store a person's details."""
        sealed = _seal_details(self._key(person), person, details, model, generation)
        self._connection.execute(
            "UPDATE person SET name_tag = ?, model = ?, generation = ?, details = ? WHERE id = ?",
            (self._keys.compute_name_tag(details.name), model, generation, sealed, person),
        )

    def add_templates(
        self, person: str, kind: TemplateKind, templates: F32, model: str, generation: int
    ) -> None:
        """Encrypt and store ``(T, D)`` templates; the caller updates the count in the details."""
        key, about = self._key(person), _about(f"template {kind}", person, model, generation)
        rows = [
            (person, kind, generation, seal(key, row.astype("<f4").tobytes(), about))
            for row in templates
        ]
        self._connection.executemany(
            "INSERT INTO template (person, kind, generation, sealed) VALUES (?, ?, ?, ?)", rows
        )

    def drop_templates(self, person: str) -> None:
        """Delete all templates of a person."""
        self._connection.execute("DELETE FROM template WHERE person = ?", (person,))

    def delete(self, person: str) -> None:
        """Delete a person, the key and the templates."""
        self._connection.execute("DELETE FROM person WHERE id = ?", (person,))

    def _row(self, person: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(
            "SELECT name_tag, wrapped_key, model, generation, details FROM person WHERE id = ?",
            (person,),
        ).fetchone()
        if row is None:
            raise SealError("the person is listed but the record is missing")
        return row

    def _key(self, person: str) -> bytes:
        return self._keys.unwrap_person_key(person, self._row(person)[1])

    def _templates(self, person: str, key: bytes, model: str) -> tuple[F32, F32]:
        templates: dict[str, list[F32]] = {kind: [] for kind in TemplateKind}
        for kind, generation, sealed in self._connection.execute(
            "SELECT kind, generation, sealed FROM template WHERE person = ? ORDER BY row", (person,)
        ):
            content = unseal(key, sealed, _about(f"template {kind}", person, model, generation))
            templates[kind].append(np.frombuffer(content, "<f4").astype(np.float32))
        own, negatives = (
            np.stack(rows) if rows else np.zeros((0, 0), np.float32) for rows in templates.values()
        )
        return own, negatives


def _about(what: str, person: str, model: str, generation: int) -> bytes:
    return f"{what}\0{person}\0{model}\0{generation}".encode()


def _seal_details(
    key: bytes, person: str, details: PersonDetails, model: str, generation: int
) -> bytes:
    fields = asdict(details)
    if not details.boxes:  # versions before fleets can read it
        del fields["boxes"]
    content = json.dumps(fields).encode()
    padded = content.ljust(-(-len(content) // 256) * 256)  # hides the length of the name
    return seal(key, padded, _about("details", person, model, generation))


def _parse_details(content: bytes) -> PersonDetails:
    fields = json.loads(content)
    return PersonDetails(**{**fields, "boxes": tuple(fields.get("boxes", ()))})
