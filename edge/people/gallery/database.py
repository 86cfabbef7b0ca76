"""The gallery's database: SQLite, so that a change is complete or absent.

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
    sqlite3.SQLITE_READONLY: "it is read-only: run as the user who owns it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check path and permissions of file and folder",
    sqlite3.SQLITE_PERM: "it cannot be opened: check path and permissions of file and folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "it is not a gallery: check the path, or restore it from a backup",
}


class Database:
    """One connection, used by the thread that opened it.

    Args:
        create: Create an empty one, readable by its owner alone, if the file does not exist.

    Raises:
        GalleryError: The file is missing or not a gallery.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if not path.exists():
            if not create:
                raise GalleryError(
                    "there is no such gallery: check the path, or create one with `edge enroll`",
                    file=path,
                )
            _create_private(path)
        with self._explain_errors():
            uri = f"{path.resolve().as_uri()}?mode=rw"
            self.connection = sqlite3.connect(uri, BUSY_S, isolation_level=None, uri=True)
        try:
            self._set_up()
        except BaseException:
            self.connection.close()
            raise
        self._file = self._identify()

    def _set_up(self) -> None:
        with self._explain_errors():
            if self.fetch_number("PRAGMA application_id") != APPLICATION_ID and not self.is_empty():
                raise GalleryError("the file is not a gallery: check the path", file=self.path)
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
            result = self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if result != "ok":
            raise GalleryError(
                f"the gallery is damaged ({result}): restore it from a backup", file=self.path
            )

    def close(self) -> None:
        """Close the connection; the last one merges the write-ahead log into the file."""
        self.connection.close()

    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return self.fetch_number("SELECT count(*) FROM sqlite_schema") == 0

    def fetch_number(self, query: str) -> int:
        """The single integer that a query or PRAGMA gives."""
        return int(self.connection.execute(query).fetchone()[0])

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything inside takes effect, or nothing does."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield self.connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot: concurrent changes are seen whole or not at all."""
        with self._transaction("BEGIN"):
            yield self.connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._explain_errors():
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
            GalleryError: A reader held on to old pages for too long.
        """
        with self._explain_errors():
            busy = self.fetch_number("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise GalleryError(
                "the change is made, but another process holds old pages of the file: stop it "
                "and run `edge people purge`, which removes them",
                file=self.path,
            )

    def was_replaced(self) -> bool:
        """Whether the file was replaced by another one since it was opened.

        Raises:
            GalleryError: It is gone.
        """
        return self._identify() != self._file

    def version(self) -> int:
        """A number that changes when another connection writes; costs microseconds."""
        with self._explain_errors():
            return self.fetch_number("PRAGMA data_version")

    def _identify(self) -> tuple[int, int]:
        try:
            state = self.path.stat()
        except OSError as error:
            raise GalleryError(
                f"the gallery is gone ({error.strerror}): put it back", file=self.path
            ) from error
        return state.st_dev, state.st_ino

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter in a garbled schema
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            remedy = _REMEDIES.get(code, "it is damaged: restore it from a backup")
            raise GalleryError(
                f"the gallery cannot be used: {remedy} (SQLite: {error})", file=self.path
            ) from error


def _create_private(path: Path) -> None:
    """Create an empty file of mode 0600, owned by its folder's owner when root creates it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise GalleryError(
            f"the gallery cannot be created ({error.strerror}): check the folder", file=path
        ) from error
    with os.fdopen(descriptor) as file:
        if os.geteuid() == 0:
            folder = path.absolute().parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
