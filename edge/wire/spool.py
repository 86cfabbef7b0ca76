"""A spool: batches of messages on the disk, until a server elsewhere has them.

A batch is one row of SQLite in WAL mode: it is kept whole or not at all, a killed process loses
nothing that `Spool.append` has taken, a power cut at most the last moments. Bounded in bytes and in
age: what is oldest goes first, and is counted.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SinkError
from edge.permissions import choose_remedy

APPLICATION_ID = 0x45444753  # "EDGS"
VERSION = 1
BUSY_S = 5.0

_DAMAGE = re.compile("malformed|not a database")
_SCHEMA = """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, message_id TEXT NOT NULL,
    content BLOB NOT NULL, messages INTEGER NOT NULL, put_s REAL NOT NULL,
    parcel INTEGER NOT NULL DEFAULT 0
)
"""
_CURSORS = """
CREATE TABLE IF NOT EXISTS cursors (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID
"""
_LOSSES = """
CREATE TABLE IF NOT EXISTS losses (
    node TEXT NOT NULL, boot TEXT NOT NULL, topic TEXT NOT NULL, seq INTEGER NOT NULL,
    at_s REAL NOT NULL, PRIMARY KEY (node, boot, topic)
) WITHOUT ROWID
"""
_MISTYPED = """
SELECT count(*) FROM batches WHERE typeof(subject) <> 'text' OR typeof(message_id) <> 'text'
    OR typeof(content) <> 'blob' OR typeof(messages) <> 'integer' OR typeof(put_s) <> 'real'
    OR typeof(parcel) <> 'integer'
"""  # SQLite keeps any type in any column


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that travel together.

    Attributes:
        subject: Where they go.
        message_id: By which a server knows it when it comes again.
        content: What it sends.
        messages: How many messages that is.
        number: Its place in the spool; 0 before it has one.
        parcel: Number of the first batch of those that it is sent with; 0 before that is settled.
    """

    subject: str
    message_id: str
    content: bytes
    messages: int
    number: int = 0
    parcel: int = 0


@dataclass(frozen=True, slots=True)
class Loss:
    """The last number of a topic of a boot that was given up: nothing after it may ever arrive.

    Attributes:
        at_s: When it was captured, Unix time.
    """

    node: str
    boot: str
    topic: str
    seq: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How a spool is doing.

    Attributes:
        messages: That wait.
        size_bytes: That they take.
        lost: Messages that had to go since it was last asked.
        problem: Why they are not sent; empty if they are.
    """

    messages: int
    size_bytes: int
    lost: int
    problem: str = ""


class Spool:
    """The batches of one file. Used by two threads: one appends, one sends and deletes.

    Args:
        path: The file; it is created where it is missing.
        max_bytes: Of what waits.
        max_age_s: After which a batch is given up.
        list_losses: What is lost with a batch; it is kept until `report_losses`.

    Raises:
        SinkError: It cannot be opened, or is no spool of this version.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        max_age_s: float,
        list_losses: Callable[[Batch], Iterable[Loss]] = lambda _: (),
    ) -> None:
        self._list_losses = list_losses
        self._path, self._max_bytes, self._max_age_s = path, max_bytes, max_age_s
        self._lock = threading.Lock()
        self._lost = 0
        with self._explain_errors():
            self._connection = sqlite3.connect(
                os.path.realpath(path), timeout=BUSY_S, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
        try:
            with self._explain_errors():
                self._set_up()
                self._messages, self._size_bytes = self._connection.execute(
                    "SELECT coalesce(sum(messages), 0), coalesce(sum(length(content)), 0) "
                    "FROM batches"
                ).fetchone()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def append(
        self, batches: Iterable[Batch], now_s: float, cursors: Mapping[str, int] | None = None
    ) -> None:
        """Add batches at the end; the oldest go if there is no room.

        Args:
            batches: Written whole or not at all.
            now_s: Unix time.
            cursors: How far something has been read that these are of, written with them.

        Raises:
            SinkError: They cannot be written; then none of them was added.
        """
        rows = [(b.subject, b.message_id, b.content, b.messages, now_s) for b in batches]
        with self._lock, self._explain_errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO batches (subject, message_id, content, messages, put_s) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?)", list((cursors or {}).items())
            )
        with self._lock:
            self._messages += sum(row[3] for row in rows)
            self._size_bytes += sum(len(row[2]) for row in rows)
        self._drop_excess(now_s)

    def read_cursor(self, name: str) -> int:
        """How far something has been read; 0 before it was.

        Raises:
            SinkError: It cannot be read.
        """
        with self._lock, self._explain_errors():
            row = self._connection.execute(
                "SELECT value FROM cursors WHERE name = ? AND typeof(value) = 'integer'", (name,)
            ).fetchone()
        return int(row[0]) if row else 0

    def read(self, limit: int) -> list[Batch]:
        """The oldest batches, in order.

        Raises:
            SinkError: They cannot be read.
        """
        with self._lock, self._explain_errors():
            rows = self._connection.execute(
                "SELECT subject, message_id, content, messages, id, parcel FROM batches "
                "ORDER BY id LIMIT ?",
                (limit,),
            ).fetchall()
        return [Batch(*row) for row in rows]

    def bind(self, parcels: Iterable[Sequence[Batch]]) -> None:
        """Settle which batches are sent together, so that it stays so when they are sent again.

        Raises:
            SinkError: It cannot be written.
        """
        rows = [(parcel[0].number, batch.number) for parcel in parcels for batch in parcel]
        with self._lock, self._explain_errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("UPDATE batches SET parcel = ? WHERE id = ?", rows)

    def remove(self, batches: Sequence[Batch]) -> None:
        """Remove batches that have arrived.

        Raises:
            SinkError: They cannot be removed.
        """
        self._remove(batches, ())

    def report_losses(
        self, report: Callable[[Sequence[Loss]], Iterable[Batch]], now_s: float
    ) -> None:
        """Add batches that say what was given up, and forget it.

        Raises:
            SinkError: They cannot be written.
        """
        with self._lock, self._explain_errors():
            rows = self._connection.execute(
                "SELECT node, boot, topic, seq, at_s FROM losses"
            ).fetchall()
        if not rows:
            return
        self.append(report([Loss(*row) for row in rows]), now_s)
        with self._lock, self._explain_errors():
            self._connection.executemany(
                "DELETE FROM losses WHERE node = ? AND boot = ? AND topic = ? AND seq = ?",
                [row[:4] for row in rows],
            )

    def _remove(self, batches: Sequence[Batch], losses: Iterable[Loss]) -> None:
        with self._lock, self._explain_errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO losses VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET seq = excluded.seq, at_s = excluded.at_s WHERE excluded.seq > seq",
                [(loss.node, loss.boot, loss.topic, loss.seq, loss.at_s) for loss in losses],
            )
            for batch in batches:
                done = self._connection.execute("DELETE FROM batches WHERE id = ?", (batch.number,))
                if done.rowcount:  # it may have been given up meanwhile
                    self._messages -= batch.messages
                    self._size_bytes -= len(batch.content)

    def look(self, problem: str = "") -> SpoolState:
        """How it is doing."""
        with self._lock:
            lost, self._lost = self._lost, 0
            return SpoolState(self._messages, self._size_bytes, lost, problem)

    def _drop_excess(self, now_s: float) -> None:
        """Give up the oldest batches: those that are too old, and others until the rest fits."""
        while True:
            with self._lock, self._explain_errors():
                row = self._connection.execute(
                    "SELECT put_s FROM batches ORDER BY id LIMIT 1"
                ).fetchone()
                is_old = row is not None and now_s - row[0] > self._max_age_s
                if row is None or (not is_old and self._size_bytes <= self._max_bytes):
                    return
            oldest = self.read(1)
            with self._lock:
                self._lost += sum(batch.messages for batch in oldest)
            self._remove(oldest, [loss for batch in oldest for loss in self._list_losses(batch)])

    def _set_up(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA trusted_schema = OFF")
        kind, version = (run(f"PRAGMA {p}").fetchone()[0]
                         for p in ("application_id", "user_version"))  # fmt: skip
        if run("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            run("BEGIN IMMEDIATE")
            run(_SCHEMA)
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run(f"PRAGMA user_version = {VERSION}")
            run("COMMIT")
        elif (kind, version) != (APPLICATION_ID, VERSION):
            raise SinkError(f"{self._path} is no spool of version {VERSION}: move it away")
        elif run(_MISTYPED).fetchone()[0]:
            raise sqlite3.DatabaseError("malformed batches")
        run(_CURSORS)
        run(_LOSSES)

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            remedy = f"let user {os.geteuid()} write there, and check path and space"
            if _DAMAGE.search(str(error)):
                remedy = "if it is damaged, move it away: what waits in it is lost then"
            raise SinkError(f"{self._path}: {error}: {remedy}") from error
        except OSError as error:
            remedy = choose_remedy(error, "write there", "check the path")
            raise SinkError(f"{self._path}: {error.strerror}: {remedy}") from error
