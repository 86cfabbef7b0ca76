"""The audit log: who was enrolled, renamed, compared or forgotten, as a tamper-evident chain.

Each entry carries an HMAC over the one before it and itself, and a separate head counts them: an
entry that is changed, moved, inserted or removed breaks the chain, at its end too. People
appear by id, never by name. An old copy of the whole gallery is noticed by its `head`, see `seal`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from edge.compat import StrEnum
from edge.errors import GalleryRefusedError

HEAD_LENGTH = 24  # characters by which an owner names a head

TABLES = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at_s REAL NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    person TEXT NOT NULL, detail TEXT NOT NULL, mac BLOB NOT NULL
);
CREATE TABLE audit_head (only INTEGER PRIMARY KEY CHECK (only = 1), mac BLOB NOT NULL);
"""


class Action(StrEnum):
    """What was done."""

    CREATE = "create"
    ENROLL = "enroll"
    RENAME = "rename"
    LOOKALIKE = "lookalike"
    FORGET = "forget"
    PURGE = "purge"
    EXPORT = "export"
    VERIFY = "verify"
    EMBEDDER = "embedder"
    CALIBRATE = "calibrate"
    CHALLENGE = "challenge"
    SEAL = "seal"
    ACCEPT = "accept"
    SCOPE = "scope"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log.

    Attributes:
        seq: Counts from 1 without gaps.
        actor: The system user who did it, ``uid:N``.
        action: One of `Action` unless the log was tampered with.
        person: The id of the person concerned, or empty.
        detail: More, as JSON, without names.
    """

    seq: int
    at_s: float
    actor: str
    action: str
    person: str
    detail: str


class AuditLog:
    """The log inside a gallery's database, written in the transaction it reports."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    def append(self, at_s: float, action: Action, person: str = "", **detail: object) -> None:
        """Add an entry inside the caller's transaction."""
        seq, before = self._last()
        row = (seq + 1, at_s, f"uid:{os.getuid()}", str(action), person, json.dumps(detail))
        mac = self._mac(before, row)
        self._connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, mac))
        head = self._head_mac(seq + 1, mac)
        self._connection.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?)", (head,))

    def append_challenge(self, at_s: float, *, passed: bool) -> None:
        """Add an attempt at a challenge, or that the latest one was passed."""
        self.append(at_s, Action.CHALLENGE, passed=passed)

    def challenges(self) -> Iterator[tuple[float, bool]]:
        """What `append_challenge` wrote, in order: Unix seconds, and whether it was passed."""
        for entry in self.entries():
            if entry.action == Action.CHALLENGE:
                yield entry.at_s, bool(json.loads(entry.detail)["passed"])

    def entries(self) -> Iterator[AuditEntry]:
        """All entries in order, as they stand; see `verify`."""
        for seq, at_s, *texts in self._connection.execute(
            "SELECT seq, at_s, actor, action, person, detail FROM audit ORDER BY seq"
        ):
            yield AuditEntry(seq, at_s, *map(str, texts))

    def head(self) -> str:
        """Number and HMAC of the last entry, for safekeeping elsewhere."""
        seq, mac = self._last()
        return f"{seq}:{mac.hex()}"

    def is_sealed(self) -> bool:
        """Whether the gallery has had a seal, see `seal`; those of earlier versions have none."""
        query = "SELECT 1 FROM audit WHERE action = ? OR (action = ? AND detail LIKE ?) LIMIT 1"
        row = (Action.SEAL, Action.CREATE, '%"sealed": true%')
        return self._connection.execute(query, row).fetchone() is not None

    def contains(self, head: str) -> bool:
        """Whether a head that was seen earlier is in the log, or was given up by its owner."""
        seq, _, mac = head.partition(":")
        row = self._connection.execute("SELECT mac FROM audit WHERE seq = ?", (seq,)).fetchone()
        if row and isinstance(row[0], bytes) and mac and row[0].hex().startswith(mac):
            return True
        accepted = self._connection.execute(
            "SELECT detail FROM audit WHERE action = ?", (Action.ACCEPT,)
        )
        return any(json.loads(x).get("instead_of") == head[:HEAD_LENGTH] for (x,) in accepted)

    def verify(self) -> int:
        """Check the whole chain.

        Returns:
            The number of entries.

        Raises:
            GalleryRefusedError: It was tampered with; the message names the first entry that does
                not fit.
        """
        before, count = b"", 0
        for *row, mac in self._connection.execute("SELECT * FROM audit ORDER BY seq"):
            if row[0] != count + 1 or not _is_same(mac, self._mac(before, row)):
                raise GalleryRefusedError(
                    f"the audit log was tampered with at entry {count + 1}: "
                    "restore the gallery from a backup and find out who had access"
                )
            before, count = mac, count + 1
        head = self._connection.execute("SELECT mac FROM audit_head").fetchone()
        if head is None or not _is_same(head[0], self._head_mac(count, before)):
            raise GalleryRefusedError(
                f"the audit log was cut off after entry {count}: "
                "restore the gallery from a backup and find out who had access"
            )
        return count

    def _last(self) -> tuple[int, bytes]:
        row = self._connection.execute(
            "SELECT seq, mac FROM audit ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return row or (0, b"")

    def _mac(self, before: bytes, row: object) -> bytes:
        return hmac.digest(
            self._key, before + json.dumps(row, default=repr).encode(), hashlib.sha256
        )

    def _head_mac(self, seq: int, mac: bytes) -> bytes:
        return hmac.digest(self._key, f"head {seq} ".encode() + mac, hashlib.sha256)


def _is_same(stored: object, expected: bytes) -> bool:
    return isinstance(stored, bytes) and hmac.compare_digest(stored, expected)
