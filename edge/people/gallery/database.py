"""The gallery's database: SQLite, so that a change is complete or absent.

WAL with full sync survives SIGKILL, power loss and a full disk; deleted content is overwritten
with zeros, and `scrub` empties the write-ahead log, where old pages would linger. Each change is
copied into the file at once, so that nothing is left to be written into a file that was put over
it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edge import compat
from edge.errors import GalleryError, GalleryRefusedError
from edge.input_file import read_input
from edge.permissions import choose_remedy

log = logging.getLogger(__name__)

APPLICATION_ID = 0x45444757  # "EDGW"
BUSY_S = 5.0
COPY_FOLDERS = ("/dev/shm", None)  # noqa: S108 - a private folder is made in it; None: TMPDIR
_MAX_COPY_BYTES = 1 << 30
_WAL_INDEX_HEADER_BYTES = 136  # https://www.sqlite.org/walformat.html

_REMEDIES = {
    compat.SQLITE_BUSY: "another process is writing to it: try again",
    compat.SQLITE_FULL: "the disk is full; nothing was changed: free some space",
    compat.SQLITE_IOERR: "the disk is full or failing; nothing was changed: free some space",
    compat.SQLITE_READONLY: "it is read-only: run as the user who owns it",
    compat.SQLITE_CANTOPEN: "it cannot be opened: check path and permissions of file and folder",
    compat.SQLITE_PERM: "it cannot be opened: check path and permissions of file and folder",
    compat.SQLITE_CORRUPT: "it is damaged: restore it from a backup",
    compat.SQLITE_NOTADB: "it is not a gallery: check the path, or restore it from a backup",
}


READ_ONLY = {
    compat.SQLITE_FULL,
    compat.SQLITE_IOERR,
    compat.SQLITE_READONLY,
    compat.SQLITE_CANTOPEN,
}


class ReadOnlyError(GalleryError):
    """The file system takes no changes."""


class Database:
    """One connection, used by the thread that opened it.

    Where the disk is full or read-only a copy is read, elsewhere, and nothing can be written.

    Args:
        create: Create an empty one, readable by its owner alone, if the file does not exist.

    Raises:
        GalleryError: The file is missing, no regular file, open to other users, or not a gallery.

    Attributes:
        after_begin: Called at the beginning of each change, inside its transaction.
        before_commit: Called at the end of each change, inside its transaction.
        after_commit: Called after each change.
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
        _check_file(path)
        _check_logs(path.resolve())  # they lie beside the file, not beside a link to it
        self.after_begin: Callable[[], None] = lambda: None
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self._is_copy = False
        self._file, self._log = self._identify(), 0
        try:
            with self._explain_errors():
                uri = f"{path.resolve().as_uri()}?mode=rw"
                connection = sqlite3.connect(uri, timeout=BUSY_S, isolation_level=None, uri=True)
            self._set_up(connection)
            self._log = self._identify_log()
        except ReadOnlyError as error:
            self._is_copy = True
            self._file = self._identify()
            self._set_up(_open_copy(path, error))

    def _set_up(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        try:
            self._check_content()
        except BaseException:
            connection.close()
            raise

    def _check_content(self) -> None:
        with self._explain_errors():
            # in this order, as another process may be making it
            if not self.is_empty() and self.fetch_number("PRAGMA application_id") != APPLICATION_ID:
                raise GalleryError("the file is not a gallery: check the path", file=self.path)
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "wal_autocheckpoint = 1",
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
        """A transaction: everything inside takes effect, or nothing does.

        Raises:
            GalleryError: The gallery was opened read-only, or written over since.
        """
        if self._is_copy:
            raise GalleryError(
                "the gallery cannot be changed, because its disk is full or read-only: free some "
                "space, or run as the user who owns it",
                file=self.path,
            )
        with self._transaction("BEGIN IMMEDIATE"):
            self._refuse_written_over()
            self.after_begin()
            yield self.connection
            self.before_commit()
        self.after_commit()

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
            GalleryError: It is gone, or was written over in place.
        """
        if self._identify() != self._file:
            return True
        self._refuse_written_over()
        return False

    def _refuse_written_over(self) -> None:
        """Raise where SQLite's log is no longer the one it writes to: `cp` and `rm` did that."""
        if not self._is_copy and self._identify_log() != self._log:
            raise GalleryError(
                "the gallery was written over while it was in use, and may be damaged: restore it "
                "again, beside it first and then with `mv` in its place",
                file=self.path,
            )

    def _identify_log(self) -> int:
        """The inode of SQLite's log, which is there as long as a connection is; 0 if it is not."""
        path = self.path.resolve()  # it lies beside the file, not beside a link to it
        try:
            return path.with_name(f"{path.name}-wal").stat().st_ino
        except OSError:
            return 0

    def version(self) -> int:
        """A number that changes when another connection writes; costs microseconds."""
        with self._explain_errors():
            return self.fetch_number("PRAGMA data_version")

    def _identify(self) -> tuple[int, ...]:
        """What tells the file from another in its place; of a copy, also from a changed one."""
        try:
            state = self.path.stat()
        except OSError as error:
            raise GalleryError(
                f"the gallery is gone ({error.strerror}): put it back", file=self.path
            ) from error
        return state.st_dev, state.st_ino, *([state.st_mtime_ns] if self._is_copy else ())

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter in a garbled schema
            code = compat.sqlite_error_code(error)
            remedy = _REMEDIES.get(code, "it is damaged: restore it from a backup")
            kind = ReadOnlyError if code in READ_ONLY else GalleryError
            raise kind(
                f"the gallery cannot be used: {remedy} (SQLite: {error})", file=self.path
            ) from error


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        remedy = choose_remedy(error, "read it", "check path and permissions")
        raise GalleryError(
            f"the gallery cannot be opened ({error.strerror}): {remedy}", file=path
        ) from error
    if not stat.S_ISREG(mode):
        raise GalleryError(
            "the gallery is not a file but a folder, device, pipe or socket: check the path",
            file=path,
        )
    if mode & 0o077 and not _is_database(path):
        raise GalleryError("the file is not a gallery: check the path", file=path)
    if mode & 0o077:
        raise GalleryRefusedError(
            f"the gallery is accessible to other users (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {path}",
            file=path,
        )


def _is_database(path: Path) -> bool:
    """Whether SQLite takes it for one; closing a file of our own would take SQLite's locks off."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        return compat.sqlite_error_code(error) != compat.SQLITE_NOTADB
    return True


def _check_logs(path: Path) -> None:
    """Refuse what SQLite would wait for, or write into, as its log."""
    for suffix in ("-wal", "-shm", "-journal"):
        log_file = Path(f"{path}{suffix}")
        if log_file.exists() and not log_file.is_file():
            raise GalleryError(
                f"{log_file} is not a file, but SQLite keeps a log there: remove it", file=path
            )


def _open_copy(path: Path, error: GalleryError) -> sqlite3.Connection:
    """A connection to a copy of a gallery and its write-ahead log, in memory if there is room.

    Raises:
        GalleryError: It cannot be read; or ``error``, where there is no room for a copy.
    """
    path = path.resolve()  # SQLite's log lies beside the file, not beside a link to it
    try:
        content, wal = read_input(path, _MAX_COPY_BYTES), b""
        with contextlib.suppress(FileNotFoundError):
            wal = read_input(path.with_name(f"{path.name}-wal"), _MAX_COPY_BYTES)
    except OSError as cause:
        remedy = choose_remedy(cause, "read it", "check path and permissions")
        raise GalleryError(
            f"the gallery cannot be read ({cause.strerror}): {remedy}", file=path
        ) from cause
    for folder in COPY_FOLDERS:
        with contextlib.suppress(OSError, sqlite3.Error):
            connection = _open_nameless(folder, content, wal)
            log.warning("the gallery %s is read only, because its disk takes no changes", path)
            return connection
    raise error


def _open_nameless(folder: str | None, content: bytes, wal: bytes) -> sqlite3.Connection:
    """A connection to files without names, of which not even SIGKILL leaves anything behind.

    SQLite opens them empty. They are filled when their names are gone; the log's index is cleared,
    so that SQLite reads the log anew, as after a crash.
    """
    with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as files:
        with tempfile.TemporaryDirectory(prefix="edgewatch-gallery-", dir=folder) as name:
            path = Path(name, "gallery.db")
            connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            on_failure.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            database, log_file, index = (
                files.enter_context(Path(f"{path}{suffix}").open("r+b"))
                for suffix in ("", "-wal", "-shm")
            )
        header = bytes(_WAL_INDEX_HEADER_BYTES)
        for file, data in ((database, content), (log_file, wal), (index, header)):
            file.write(data)
            file.flush()
        on_failure.pop_all()
    return connection


def _create_private(path: Path) -> None:
    """Create an empty file of mode 0600, owned by its folder's owner when root creates it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        remedy = choose_remedy(error, "write there", "check the folder")
        raise GalleryError(
            f"the gallery cannot be created ({error.strerror}): {remedy}", file=path
        ) from error
    with os.fdopen(descriptor) as file:
        if os.geteuid() == 0:
            folder = path.absolute().parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
