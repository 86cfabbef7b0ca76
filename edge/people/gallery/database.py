"""The gallery's database: SQLite so that a change is there whole or not at all.

WAL with full sync survives SIGKILL, power loss and a full disk; deleted content is overwritten
with zeros, and `scrub` empties the write-ahead log, where old pages would linger.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edge.errors import GalleryError

APPLICATION_ID = 0x45444757  # "EDGW"
BUSY_S = 5.0

_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process is writing to it: try again",
    sqlite3.SQLITE_FULL: "the disk is full; nothing was changed: free some space",
    sqlite3.SQLITE_IOERR: "the disk is full or failing; nothing was changed: free some space",
    sqlite3.SQLITE_READONLY: "may not be written: run as the user it belongs to",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check path and permissions of file and folder",
    sqlite3.SQLITE_PERM: "cannot be opened: check path and permissions of file and folder",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is no gallery: check the path, or restore it from a backup",
}


class Database:
    """One connection, used by the thread that opened it.

    Args:
        path: the file.
        create: make an empty one, readable by its owner alone, where there is none.

    Raises:
        GalleryError: there is none, or it is something else.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if not path.exists():
            if not create:
                raise GalleryError(
                    f"there is no gallery {path}: check the path, or make one with `edge enroll`"
                )
            _create_private(path)
        with self._explained():
            uri = f"{path.resolve().as_uri()}?mode=rw"
            self.connection = sqlite3.connect(uri, BUSY_S, isolation_level=None, uri=True)
        try:
            self._set_up()
        except BaseException:
            self.connection.close()
            raise
        self._file = self._identity()

    def _set_up(self) -> None:
        with self._explained():
            if self.number("PRAGMA application_id") != APPLICATION_ID and not self.is_empty():
                raise GalleryError(f"{self.path} is no gallery: check the path")
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "foreign_keys = ON",
                "temp_store = MEMORY",
                "cell_size_check = ON",
                "trusted_schema = OFF",
            ):
                self.connection.execute(f"PRAGMA {pragma}")
            found = self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise GalleryError(
                f"gallery {self.path} is damaged ({found}): restore it from a backup"
            )

    def close(self) -> None:
        """Close the connection; the last one folds the write-ahead log into the file."""
        self.connection.close()

    def is_empty(self) -> bool:
        """Nothing was ever written."""
        return self.number("SELECT count(*) FROM sqlite_schema") == 0

    def number(self, query: str) -> int:
        """The one integer a query or PRAGMA gives."""
        return int(self.connection.execute(query).fetchone()[0])

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything inside happens, or nothing does."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield self.connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot: nobody's changes are seen by halves."""
        with self._transaction("BEGIN"):
            yield self.connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._explained():
            self.connection.execute(begin)
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def scrub(self) -> None:
        """Leave nothing that was deleted in the write-ahead log.

        Raises:
            GalleryError: a reader held on to it for too long.
        """
        with self._explained():
            busy = self.number("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise GalleryError(
                f"the change is made, but another process holds old pages of {self.path}: "
                "stop it and run `edge people purge`, which removes them"
            )

    def was_replaced(self) -> bool:
        """Whether the file was replaced by another one since it was opened.

        Raises:
            GalleryError: it is gone.
        """
        return self._identity() != self._file

    def version(self) -> int:
        """A number that differs after another connection has written; costs microseconds."""
        with self._explained():
            return self.number("PRAGMA data_version")

    def _identity(self) -> tuple[int, int]:
        try:
            state = self.path.stat()
        except OSError as error:
            raise GalleryError(f"{self.path}: {error.strerror}: put it back") from error
        return state.st_dev, state.st_ino

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter in a garbled schema
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            remedy = _REMEDIES.get(code, "is damaged: restore it from a backup")
            raise GalleryError(f"gallery {self.path}: {remedy} (SQLite: {error})") from error


def _create_private(path: Path) -> None:
    """An empty file of mode 0600, which belongs to its folder's owner when root makes it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise GalleryError(f"gallery {path}: {error.strerror}: check the folder") from error
    with os.fdopen(descriptor) as file:
        if os.geteuid() == 0:
            folder = path.absolute().parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
