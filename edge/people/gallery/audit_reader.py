"""Reading a gallery's audit log without its key: entries as they stand, unchecked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from edge.errors import GalleryError
from edge.types import AuditRow

ID_LENGTH = 16  # characters


class AuditReader:
    """Reads the audit log in a gallery's file.

    Args:
        path: The gallery.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def identify(self) -> str:
        """What tells this log from every other one: the head of the HMAC of its first entry.

        Raises:
            GalleryError: It cannot be read, or is empty.
        """
        found = self._read(0, 1)
        if not found:
            raise GalleryError("the audit log is empty", file=self._path)
        return found[0].mac.hex()[:ID_LENGTH]

    def read_after(self, seq: int, limit: int) -> list[AuditRow]:
        """The entries after a number, in order.

        Raises:
            GalleryError: They cannot be read.
        """
        return self._read(seq, limit)

    def _read(self, seq: int, limit: int) -> list[AuditRow]:
        query = (
            "SELECT seq, at_s, actor, action, person, detail, mac FROM audit WHERE seq > ? "
            "AND typeof(at_s) = 'real' AND typeof(mac) = 'blob' ORDER BY seq LIMIT ?"
        )
        try:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
                rows = connection.execute(query, (seq, limit)).fetchall()
        except sqlite3.Error as error:
            raise GalleryError(f"the audit log cannot be read: {error}", file=self._path) from error
        return [
            AuditRow(int(seq), float(at_s), str(by), str(did), str(whom), str(more), bytes(mac))
            for seq, at_s, by, did, whom, more, mac in rows
        ]
