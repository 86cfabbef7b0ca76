"""The index of events and files: SQLite in WAL mode, so that a change is complete or absent."""

# ruff: noqa: S608 - statements are put together from constants and question marks

from __future__ import annotations

import contextlib
import math
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec

from edge.errors import StorageError
from edge.event import Event, KnownPerson
from edge.recording.kept_file import FILE_MODE
from edge.recording.records import EventFilter, EventRecord, FileKind, StoredFile

APPLICATION_ID = 0x45444756  # "EDGV"
VERSION = 2
BUSY_S = 5.0

_SCHEMA = """
CREATE TABLE events (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, severity TEXT NOT NULL, began_s REAL NOT NULL,
    ended_s REAL, seen INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL,
    protected INTEGER NOT NULL DEFAULT 0, doomed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (began_s, id);
CREATE INDEX events_by_camera ON events (camera, began_s, id);
CREATE INDEX events_by_severity ON events (severity, began_s, id);
CREATE INDEX events_by_seen ON events (seen, began_s, id);
CREATE TABLE terms (
    kind TEXT NOT NULL, word TEXT NOT NULL, began_s REAL NOT NULL,
    event TEXT NOT NULL REFERENCES events ON DELETE CASCADE,
    PRIMARY KEY (kind, word, began_s, event)
) WITHOUT ROWID;
CREATE INDEX terms_by_event ON terms (event);
CREATE TABLE files (
    path TEXT PRIMARY KEY, kind TEXT NOT NULL, camera TEXT NOT NULL, event TEXT NOT NULL,
    began_s REAL NOT NULL, ended_s REAL, size_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_by_event ON files (event);
CREATE INDEX files_by_time ON files (kind, began_s);
CREATE INDEX files_by_camera ON files (camera, kind, began_s);
"""
_FROM_VERSION_1 = """
ALTER TABLE events ADD COLUMN protected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN doomed INTEGER NOT NULL DEFAULT 0;
"""
_PARTIAL = """
CREATE TABLE IF NOT EXISTS denials (
    event TEXT NOT NULL REFERENCES events ON DELETE CASCADE, person TEXT NOT NULL,
    PRIMARY KEY (event, person)
) WITHOUT ROWID;
CREATE INDEX events_protected ON events (id) WHERE protected;
CREATE INDEX events_doomed ON events (id) WHERE doomed;
"""
_DAMAGE = re.compile("malformed|not a database")
_EVENT_COLUMNS = "body, seen, events.id, protected"
_FILE_COLUMNS = "path, kind, camera, event, began_s, ended_s, size_bytes"


class Index:
    """One connection to the index; several may be open, also in several processes.

    Args:
        path: The file; it is created where it is missing.

    Raises:
        StorageError: It cannot be opened, or is no index of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with contextlib.suppress(OSError):  # it is there, or SQLite says what is wrong
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(os.path.realpath(path), flags, FILE_MODE))
        with self._explain_errors():
            self._connection = sqlite3.connect(
                os.path.realpath(path),  # SQLite refuses more .. than there are folders
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._explain_errors():
                self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def check(self) -> None:
        """Read all of it.

        Raises:
            StorageError: It is damaged.
        """
        [[found]] = self._fetch("PRAGMA quick_check(1)")
        if found != "ok":
            raise _explain_damage(str(found), self._path)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _set_up(self) -> None:
        run = self._connection.execute
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON",
                       "secure_delete = ON", "trusted_schema = OFF"):  # fmt: skip
            run(f"PRAGMA {pragma}")
        with self._change():
            kind, version = (run(f"PRAGMA {p}").fetchone()[0]
                             for p in ("application_id", "user_version"))  # fmt: skip
            if run("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                for statement in (_SCHEMA + _PARTIAL).split(";"):
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION_ID}")
                run(f"PRAGMA user_version = {VERSION}")
            elif (kind, version) == (APPLICATION_ID, 1):
                for statement in (_FROM_VERSION_1 + _PARTIAL).split(";"):
                    run(statement)
                run(f"PRAGMA user_version = {VERSION}")
            elif (kind, version) != (APPLICATION_ID, VERSION):
                raise StorageError(
                    f"is no index of events of version {VERSION}: move it away", file=self._path
                )

    # --- events ---------------------------------------------------------------------------------

    def put_event(self, event: Event) -> Event:
        """Add an event, or put its present state in the place of the former one.

        Returns:
            The event as it is kept: without the people of whom it was denied.
        """
        with self._change() as run:
            return self._write_event(run, event)

    @staticmethod
    def _write_event(run: Any, event: Event) -> Event:  # noqa: ANN401 - of a transaction
        rows = run("SELECT person FROM denials WHERE event = ?", (event.event_id,))
        if denied := {person for [person] in rows}:
            rest = tuple(known for known in event.people if known.person not in denied)
            event = replace(event, people=rest)
        run(
            "INSERT INTO events (id, camera, severity, began_s, ended_s, body) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "severity = excluded.severity, ended_s = excluded.ended_s, body = excluded.body",
            (event.event_id, event.camera, str(event.severity), event.began_s, event.ended_s,
             msgspec.json.encode(event).decode()),
        )  # fmt: skip
        run("DELETE FROM terms WHERE event = ?", (event.event_id,))
        for kind, word in _list_terms(event):
            run("INSERT OR IGNORE INTO terms VALUES (?, ?, ?, ?)",
                (kind, word, event.began_s, event.event_id))  # fmt: skip
        return event

    def deny_person(self, event_id: str, person: str) -> EventRecord | None:
        """Take a person's name from an event for good, also if it goes on; None without it."""
        with self._change() as run:
            if not run("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone():
                return None
            run("INSERT OR IGNORE INTO denials VALUES (?, ?)", (event_id, person))
            if record := self.get_event(event_id):
                self._write_event(run, record.event)
        return self.get_event(event_id)

    def get_event(self, event_id: str) -> EventRecord | None:
        """An event by its id."""
        rows = self._fetch(
            f"SELECT {_EVENT_COLUMNS} FROM events WHERE id = ? AND NOT doomed", (event_id,)
        )
        return next(iter(self._to_records(rows)), None)

    def find_events(
        self, wanted: EventFilter, limit: int = 50, before: tuple[float, str] | None = None
    ) -> list[EventRecord]:
        """The newest events that are wanted, newest first.

        Args:
            wanted: Which ones.
            limit: How many at most.
            before: Start and id of the last event of the page before.
        """
        source, conditions, values, leading = _select(wanted)
        if before is not None:
            event_id = "event" if leading == "terms" else "id"
            conditions.append(f"({leading}.began_s, {leading}.{event_id}) < (?, ?)")
            values += before
        order = ("terms.began_s DESC, terms.event DESC" if leading == "terms"
                 else "events.began_s DESC, events.id DESC")  # fmt: skip
        rows = self._fetch(
            f"SELECT {_EVENT_COLUMNS} FROM {source} WHERE {' AND '.join(conditions)} "
            f"ORDER BY {order} LIMIT ?",
            (*values, limit),
        )
        return self._to_records(rows)

    def list_event_ids(self, before_s: float = math.inf) -> Iterator[str]:
        """Ids of events that may go and began before a Unix time, oldest first, while they go."""
        after = (-math.inf, "")
        while rows := self._fetch(
            "SELECT began_s, id FROM events WHERE (began_s, id) > (?, ?) AND began_s < ? "
            "AND NOT protected ORDER BY began_s, id LIMIT 100",
            (*after, before_s),
        ):
            yield from [row[1] for row in rows]
            after = rows[-1]

    def list_open_events(self) -> list[Event]:
        """Events that have no end, as after a crash."""
        rows = self._fetch(f"SELECT {_EVENT_COLUMNS} FROM events WHERE ended_s IS NULL")
        return [record.event for record in self._to_records(rows)]

    def mark_seen(self, event_ids: Iterable[str], *, seen: bool = True) -> int:
        """Mark events as seen, or not; the number of those that are there."""
        with self._change() as run:
            return sum(
                run("UPDATE events SET seen = ? WHERE id = ?", (int(seen), event_id)).rowcount
                for event_id in event_ids
            )

    def protect(self, event_id: str, *, protected: bool = True) -> None:
        """Have an event stay however old or large it is, or no longer."""
        with self._change() as run:
            run("UPDATE events SET protected = ? WHERE id = ?", (int(protected), event_id))

    def doom(self, event_id: str) -> bool:
        """Hide an event that is over, so that whoever writes the archive deletes it.

        Returns:
            False where it goes on, or is protected.
        """
        with self._change() as run:
            changed = run(
                "UPDATE events SET doomed = 1 WHERE id = ? AND ended_s IS NOT NULL "
                "AND NOT protected",
                (event_id,),
            ).rowcount
        return bool(changed)

    def list_doomed(self) -> list[str]:
        """Ids of events that are to be deleted."""
        return [row[0] for row in self._fetch("SELECT id FROM events WHERE doomed")]

    def is_protected(self, event_id: str) -> bool:
        """Whether an event is protected, as of now."""
        return bool(self._fetch("SELECT 1 FROM events WHERE id = ? AND protected", (event_id,)))

    def is_doomed(self, event_id: str) -> bool:
        """Whether an event is to be deleted."""
        return bool(self._fetch("SELECT 1 FROM events WHERE id = ? AND doomed", (event_id,)))

    def sum_protected_bytes(self) -> int:
        """The bytes of all files of protected events."""
        [[size]] = self._fetch(
            "SELECT sum(size_bytes) FROM events JOIN files ON files.event = events.id "
            "WHERE protected"
        )
        return int(size or 0)

    def delete_event(self, event_id: str) -> None:
        """Delete an event; its files must be gone."""
        with self._change() as run:
            run("DELETE FROM events WHERE id = ?", (event_id,))

    def list_people(self) -> set[str]:
        """Ids of the people whose names are in events."""
        return {
            row[0] for row in self._fetch("SELECT DISTINCT word FROM terms WHERE kind = 'person'")
        }

    def forget_person(self, person: str) -> list[str]:
        """Remove the name of a person from all events; the ids of these."""
        with self._change() as run:
            found = [r.event for r in self.find_events(EventFilter(person=person), limit=-1)]
            for event in found:
                people = tuple(
                    KnownPerson(p.person, "") if p.person == person else p for p in event.people
                )
                self._write_event(run, replace(event, people=people))
        with self._lock, self._explain_errors():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # old pages linger there
        return [event.event_id for event in found]

    # --- files ----------------------------------------------------------------------------------

    def put_file(self, file: StoredFile) -> None:
        """Add a file before it is written, or put its present state in the place of the former."""
        with self._change() as run:
            run(
                f"INSERT OR REPLACE INTO files ({_FILE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (file.path, str(file.kind), file.camera, file.event_id, file.began_s,
                 file.ended_s, file.size_bytes),
            )  # fmt: skip

    def delete_files(self, paths: Iterable[str]) -> None:
        """Delete what is known of files."""
        with self._change() as run:
            for path in paths:
                run("DELETE FROM files WHERE path = ?", (path,))

    def list_files(
        self, kind: FileKind | None = None, *, camera: str = "", event_id: str = "", limit: int = -1
    ) -> list[StoredFile]:
        """Files, oldest first."""
        return self._list_files(kind, camera, event_id, limit)

    def list_deletable(self, kind: FileKind, limit: int) -> list[StoredFile]:
        """Files of a kind that belong to no protected event, oldest first."""
        condition = "event NOT IN (SELECT id FROM events WHERE protected)"
        return self._list_files(kind, "", "", limit, condition)

    def _list_files(
        self, kind: FileKind | None, camera: str, event_id: str, limit: int, condition: str = "1"
    ) -> list[StoredFile]:
        asked = {"kind": str(kind) if kind else "", "camera": camera, "event": event_id}
        asked = {column: value for column, value in asked.items() if value}
        where = " AND ".join([f"{column} = ?" for column in asked] + [condition])
        rows = self._fetch(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE {where} ORDER BY began_s LIMIT ?",
            (*asked.values(), limit),
        )
        with self._explain_contents():
            return [_to_file(row) for row in rows]

    def find_video(self, camera: str, began_s: float, ended_s: float) -> list[StoredFile]:
        """Clips and continuous video of a camera that overlap a time, oldest first.

        Of files that are being written, continuous video is among them: what is there can be read.
        """
        rows = self._fetch(
            f"SELECT {_FILE_COLUMNS} FROM files "
            "WHERE camera = ? AND began_s < ? AND (kind IN ('clip', 'continuous') AND ended_s > ? "
            "OR kind = 'continuous' AND ended_s IS NULL) "
            "AND event NOT IN (SELECT id FROM events WHERE doomed) ORDER BY began_s",
            (camera, ended_s, began_s),
        )
        with self._explain_contents():
            return [_to_file(row) for row in rows]

    def sum_bytes(self) -> dict[FileKind, int]:
        """The bytes of all whole files by kind."""
        rows = self._fetch("SELECT kind, sum(size_bytes) FROM files GROUP BY kind")
        with self._explain_contents():
            return {FileKind(kind): int(size) for kind, size in rows}

    # --- SQLite ---------------------------------------------------------------------------------

    def _to_records(self, rows: Sequence[Sequence[Any]]) -> list[EventRecord]:
        ids = [row[2] for row in rows]
        kinds: dict[str, set[FileKind]] = {event_id: set() for event_id in ids}
        for first in range(0, len(ids), 500):
            part = ids[first : first + 500]
            for event_id, kind in self._fetch(
                "SELECT event, kind FROM files WHERE ended_s IS NOT NULL AND event IN "
                f"({', '.join('?' * len(part))})",
                part,
            ):
                with self._explain_contents():
                    kinds[event_id].add(FileKind(kind))
        with self._explain_contents():
            return [
                EventRecord(
                    msgspec.json.decode(body, type=Event),
                    bool(seen),
                    bool(protected),
                    frozenset(kinds[event_id]),
                )
                for body, seen, event_id, protected in rows
            ]

    def _fetch(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._explain_errors():
            found = self._connection.execute(statement, values).fetchall()
        return cast("list[tuple[Any, ...]]", found)

    @contextlib.contextmanager
    def _change(self) -> Iterator[Any]:
        """A transaction."""
        with self._lock, self._explain_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _explain_contents(self) -> Iterator[None]:
        """What SQLite reads without complaint may still be no event and no file."""
        try:
            yield
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise _explain_damage(str(error), self._path) from error

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            problem = StorageError(f"the index of events: {error}", file=self._path)
            if _DAMAGE.search(str(error)):
                problem = _explain_damage(str(error), self._path)
        else:
            return
        raise problem


def _explain_damage(found: str, path: Path) -> StorageError:
    found = found.splitlines()[-1]
    return StorageError(
        f"the index of events is damaged ({found}): bring back a copy of it, or move the whole "
        "folder away",
        file=path,
    )


def _select(wanted: EventFilter) -> tuple[str, list[str], list[Any], str]:
    """Tables, conditions and their values, and the table whose order is walked."""
    terms = [("label", wanted.label), ("place", wanted.place), ("person", wanted.person)]
    terms = [(kind, word) for kind, word in terms if word]
    conditions, values = ["NOT doomed"], list[Any]()
    source, leading = "events", "events"
    if terms:  # the first one leads, so that its index is walked in the order of time
        source, leading = "terms CROSS JOIN events ON events.id = terms.event", "terms"
        conditions.append("terms.kind = ? AND terms.word = ?")
        values += terms[0]
    for kind, word in terms[1:]:
        conditions.append(
            "EXISTS (SELECT 1 FROM terms t WHERE t.kind = ? AND t.word = ? "
            "AND t.began_s = events.began_s AND t.event = events.id)"
        )
        values += [kind, word]
    if wanted.cameras:
        conditions.append(f"camera IN ({', '.join('?' * len(wanted.cameras))})")
        values += wanted.cameras
    for condition, value in (
        ("severity = ?", None if wanted.severity is None else str(wanted.severity)),
        ("seen = ?", wanted.seen),
        ("protected = ?", wanted.protected),
        (f"{leading}.began_s >= ?", wanted.after_s),
        (f"{leading}.began_s < ?", wanted.before_s),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return source, conditions, values, leading


def _list_terms(event: Event) -> Iterator[tuple[str, str]]:
    named = [known.person for known in event.people if known.name]
    for kind, words in (("label", event.labels), ("place", event.places), ("person", named)):
        for word in words:
            yield kind, word


def _to_file(row: Sequence[Any]) -> StoredFile:
    path, kind, camera, event_id, began_s, ended_s, size_bytes = row
    return StoredFile(path, FileKind(kind), camera, event_id, began_s, ended_s, size_bytes)
