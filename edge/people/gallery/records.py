"""Records: what the gallery keeps of one person, and how it is sealed.

Everything but the person's opaque id is sealed with a key of that person alone. Each seal names
the person, the embedder and the generation in which it was made, so that nothing can be moved
from one person, model or time to another; the details count the templates, so that none can be
taken away.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from edge.people.gallery.encryption import SealError, Vault, seal, unseal
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


class Kind(StrEnum):
    """Whose face a template is."""

    OWN = "own"
    LOOKALIKE = "lookalike"


class State(StrEnum):
    """Whether a person can be recognised, and if not, why."""

    ACTIVE = "active"
    EXPIRED = "expired"
    OTHER_EMBEDDER = "other embedder"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Details:
    """What is sealed about a person beside the templates.

    Attributes:
        name: as it is shown.
        enrolled_s: Unix seconds.
        consent_s: when the person's consent was stated, Unix seconds.
        until: last day (UTC) the data may be kept, as ISO date; empty is without end.
        templates: how many there are.
        lookalikes: how many templates of look-alikes there are.
    """

    name: str
    enrolled_s: float
    consent_s: float
    until: str
    templates: int
    lookalikes: int


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled person.

    Attributes:
        id: opaque, stable over renames.
        details: what is known; of a damaged record nothing.
        state: whether the person can be recognised.
        generation: of the gallery, when the record was last changed.
    """

    id: str
    details: Details
    state: State
    generation: int

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.details.name


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A person with the templates.

    Attributes:
        person: who.
        own: ``(t, D)`` float32, unit length.
        lookalikes: ``(v, D)`` float32, unit length.
    """

    person: Person
    own: F32
    lookalikes: F32


UNREADABLE = Details("", 0, 0, "", 0, 0)


def expires_s(until: str) -> float:
    """Unix seconds at which a record that may be kept through ``until`` is out of date."""
    if not until:
        return float("inf")
    day = dt.datetime.combine(dt.date.fromisoformat(until), dt.time(), dt.UTC)
    return (day + dt.timedelta(days=1)).timestamp()


class Records:
    """Reads and writes records inside the caller's transaction.

    Args:
        connection: the gallery's.
        vault: its keys.
    """

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self._opened: dict[tuple[str, int, str], Record] = {}

    def ids(self) -> list[str]:
        """Everybody, in a stable order."""
        return [row[0] for row in self._connection.execute("SELECT id FROM person ORDER BY rowid")]

    def id_of(self, name: str) -> str | None:
        """Who is called so, or has that id."""
        found = "SELECT id FROM person WHERE name_tag = ? OR id = ?"
        row = self._connection.execute(found, (self._vault.name_tag(name), name)).fetchone()
        return row[0] if row else None

    def model_of(self, person: str) -> str:
        """Sha256 of the embedder the templates of a person come from."""
        return str(self._row(person)[2])

    def read(self, person: str, model: str, now_s: float) -> Record:
        """Open a record; one that does not open, or not whole, comes back as damaged.

        Args:
            person: the id.
            model: sha256 of the gallery's embedder.
            now_s: Unix seconds, for the retention date.
        """
        try:
            tag, wrapped, of_model, generation, sealed = self._row(person)
            key = self._vault.person_key(person, wrapped)
            details = _details(unseal(key, sealed, _about("details", person, of_model, generation)))
            own, lookalikes = self._templates(person, key, of_model)
            if tag != self._vault.name_tag(details.name):
                raise SealError("name and tag differ")
            if (len(own), len(lookalikes)) != (details.templates, details.lookalikes):
                raise SealError("templates are missing")
        except (SealError, TypeError, ValueError, LookupError):
            none = np.zeros((0, 0), np.float32)
            return Record(Person(person, UNREADABLE, State.DAMAGED, 0), none, none)
        state = State.ACTIVE
        if of_model != model:
            state = State.OTHER_EMBEDDER
        elif now_s >= expires_s(details.until):
            state = State.EXPIRED
        return Record(Person(person, details, state, generation), own, lookalikes)

    def refresh(self, model: str, now_s: float) -> list[Record]:
        """Everybody's record; only those that changed since the last call are opened again."""
        keys = self._connection.execute("SELECT id, generation, model FROM person ORDER BY rowid")
        opened = {}
        for key in keys.fetchall():
            record = self._opened.get(key)
            if record is None or record.person.state is not State.ACTIVE or key[2] != model:
                record = self.read(key[0], model, now_s)
            elif now_s >= expires_s(record.person.details.until):
                record = replace(record, person=replace(record.person, state=State.EXPIRED))
            opened[key] = record
        self._opened = opened
        return list(opened.values())

    def create(self, person: str, details: Details, model: str, generation: int) -> None:
        """Write a new person without templates."""
        key, wrapped = self._vault.new_person_key(person)
        sealed = _seal_details(key, person, details, model, generation)
        tag = self._vault.name_tag(details.name)
        self._connection.execute(
            "INSERT INTO person VALUES (?, ?, ?, ?, ?, ?)",
            (person, tag, wrapped, model, generation, sealed),
        )

    def update(self, person: str, details: Details, model: str, generation: int) -> None:
        """Seal a person's details anew."""
        sealed = _seal_details(self._key(person), person, details, model, generation)
        self._connection.execute(
            "UPDATE person SET name_tag = ?, model = ?, generation = ?, details = ? WHERE id = ?",
            (self._vault.name_tag(details.name), model, generation, sealed, person),
        )

    def add_templates(
        self, person: str, kind: Kind, templates: F32, model: str, generation: int
    ) -> None:
        """Seal ``(t, D)`` templates; the caller updates the count in the details."""
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
            raise SealError("is listed and not there")
        return row

    def _key(self, person: str) -> bytes:
        return self._vault.person_key(person, self._row(person)[1])

    def _templates(self, person: str, key: bytes, model: str) -> tuple[F32, F32]:
        found: dict[str, list[F32]] = {kind: [] for kind in Kind}
        for kind, generation, sealed in self._connection.execute(
            "SELECT kind, generation, sealed FROM template WHERE person = ? ORDER BY row", (person,)
        ):
            content = unseal(key, sealed, _about(f"template {kind}", person, model, generation))
            found[kind].append(np.frombuffer(content, "<f4").astype(np.float32))
        own, lookalikes = (
            np.stack(rows) if rows else np.zeros((0, 0), np.float32) for rows in found.values()
        )
        return own, lookalikes


def _about(what: str, person: str, model: str, generation: int) -> bytes:
    return f"{what}\0{person}\0{model}\0{generation}".encode()


def _seal_details(key: bytes, person: str, details: Details, model: str, generation: int) -> bytes:
    content = json.dumps(asdict(details)).encode()
    padded = content.ljust(-(-len(content) // 256) * 256)  # its length shall not tell the name's
    return seal(key, padded, _about("details", person, model, generation))


def _details(content: bytes) -> Details:
    return Details(**json.loads(content))
