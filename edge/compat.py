"""What Python 3.10 lacks of the standard library of 3.11, under the names it has there."""

from __future__ import annotations

import sqlite3
import sys

if sys.version_info >= (3, 11):
    from datetime import UTC  # novm
    from enum import StrEnum  # novm
    from hashlib import file_digest  # novm
    from typing import Self  # novm

    import tomllib  # novm
else:
    import hashlib
    from datetime import timezone
    from enum import Enum
    from typing import TYPE_CHECKING, BinaryIO

    import tomli as tomllib
    from typing_extensions import Self

    if TYPE_CHECKING:
        from hashlib import _Hash

    UTC = timezone.utc

    class StrEnum(str, Enum):
        """An enumeration whose members are, print and format as strings."""

        def __str__(self) -> str:
            return str.__str__(self)

        def __format__(self, format_spec: str) -> str:
            return str.__format__(self, format_spec)

    def file_digest(fileobj: BinaryIO, digest: str, /) -> _Hash:
        """The digest of a file that is open for reading in binary mode."""
        result = hashlib.new(digest)
        while block := fileobj.read(1 << 18):
            result.update(block)
        return result


__all__ = ["UTC", "Self", "StrEnum", "file_digest", "sqlite_error_code", "tomllib"]

# Primary result codes and the beginnings of their messages, https://www.sqlite.org/rescode.html
SQLITE_PERM = 3
SQLITE_BUSY = 5
SQLITE_READONLY = 8
SQLITE_IOERR = 10
SQLITE_CORRUPT = 11
SQLITE_FULL = 13
SQLITE_CANTOPEN = 14
SQLITE_NOTADB = 26
_SQLITE_MESSAGES = {
    "access permission denied": SQLITE_PERM,
    "database is locked": SQLITE_BUSY,
    "attempt to write a readonly database": SQLITE_READONLY,
    "disk I/O error": SQLITE_IOERR,
    "database disk image is malformed": SQLITE_CORRUPT,
    "malformed database schema": SQLITE_CORRUPT,
    "database or disk is full": SQLITE_FULL,
    "unable to open database file": SQLITE_CANTOPEN,
    "file is not a database": SQLITE_NOTADB,
}


def sqlite_error_code(error: Exception) -> int:
    """SQLite's primary result code of an error, by its message on 3.10; 0 if it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code) & 0xFF
    if not isinstance(error, sqlite3.Error):
        return 0
    starts = (code for text, code in _SQLITE_MESSAGES.items() if str(error).startswith(text))
    return next(starts, 0)
