"""The audit log: who was enrolled, renamed, compared, forgotten; a chain that tells tampering.

Each entry carries an HMAC over the one before it and itself, and a head apart counts them: an
entry that is changed, moved, inserted or removed breaks the chain, at its end too. People
appear by id, never by name. A whole gallery put back from an old copy is not noticed: nothing
inside a file can tell that; keep `head` elsewhere if that matters.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from edge.errors import GalleryError

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


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Attributes:
        seq: counts from 1 without gaps.
        at_s: Unix seconds.
        actor: the system's user who did it, ``uid:N``.
        action: what was done, one of `Action` unless somebody tampered with it.
        person: to whom, an id; empty when to nobody.
        detail: more, as JSON, without names.
    """

    seq: int
    at_s: float
    actor: str
    action: str
    person: str
    detail: str


class AuditLog:
    """The log inside a gallery's database; written in the transaction of what it tells.

    Args:
        connection: the gallery's.
        key: of the HMAC.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    def append(self, at_s: float, action: Action, person: str = "", **detail: object) -> None:
        """Add an entry; the caller's transaction makes it last."""
        seq, before = self._last()
        row = (seq + 1, at_s, f"uid:{os.getuid()}", str(action), person, json.dumps(detail))
        mac = self._mac(before, row)
        self._connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, mac))
        head = self._head_mac(seq + 1, mac)
        self._connection.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?)", (head,))

    def entries(self) -> Iterator[Entry]:
        """All entries in order, as they stand: `verify` says whether they are genuine."""
        for seq, at_s, *texts in self._connection.execute(
            "SELECT seq, at_s, actor, action, person, detail FROM audit ORDER BY seq"
        ):
            yield Entry(seq, at_s, *map(str, texts))

    def head(self) -> str:
        """Number and HMAC of the last entry, to be kept elsewhere."""
        seq, mac = self._last()
        return f"{seq}:{mac.hex()}"

    def verify(self) -> int:
        """Check the whole chain.

        Returns:
            The number of entries.

        Raises:
            GalleryError: it was tampered with; names the first entry that does not fit.
        """
        before, count = b"", 0
        for *row, mac in self._connection.execute("SELECT * FROM audit ORDER BY seq"):
            if row[0] != count + 1 or not _same(mac, self._mac(before, row)):
                raise GalleryError(
                    f"the audit log was tampered with at entry {count + 1}: "
                    "restore the gallery from a backup and find out who had access"
                )
            before, count = mac, count + 1
        head = self._connection.execute("SELECT mac FROM audit_head").fetchone()
        if head is None or not _same(head[0], self._head_mac(count, before)):
            raise GalleryError(
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


def _same(stored: object, expected: bytes) -> bool:
    return isinstance(stored, bytes) and hmac.compare_digest(stored, expected)
