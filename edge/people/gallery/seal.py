"""The seal: one HMAC over what the tables of a gallery hold together, and the latest one seen.

Each record of a person is authenticated for itself, and one that is damaged closes nothing but
itself. The seal authenticates the rest, whenever the gallery changes: the settings (embedder,
calibration, generation, fingerprints of the records, by which an earlier record that was put back
is noticed), which people there are, and the end of the audit log.

Nothing inside a file reveals that all of it is an older copy, so the number and HMAC of the last
audit entry are also kept outside, in the state directory of whoever opens the gallery: a gallery
whose log does not contain that entry is an older copy, or another branch.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge.atomic_file import write_file
from edge.errors import GalleryRefusedError
from edge.input_file import read_input

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 200
ALLOWED = {"table", "index"}  # a trigger or view could change what is read or written


class Seal:
    """The seal inside a gallery's database."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    def write(self, head: str) -> None:
        """Seal the tables as they are, inside the caller's transaction."""
        seal = self._compute(head)
        self._connection.execute("INSERT OR REPLACE INTO setting VALUES ('seal', ?)", (seal,))

    def verify(self, head: str) -> None:
        """Check the tables; ``head`` is that of the audit log.

        Raises:
            GalleryRefusedError: They were changed by something that does not have the key.
        """
        kinds = {row[0] for row in self._connection.execute("SELECT type FROM sqlite_schema")}
        row = self._connection.execute("SELECT value FROM setting WHERE name = 'seal'").fetchone()
        stored = row[0] if row else None
        fits = isinstance(stored, bytes) and hmac.compare_digest(stored, self._compute(head))
        if not fits or kinds - ALLOWED:
            raise GalleryRefusedError(
                "the gallery was changed without its key: restore it from a backup and find out "
                "who had access"
            )

    def _compute(self, head: str) -> bytes:
        digest = hmac.new(self._key, f"seal 1 {head}\n".encode(), hashlib.sha256)
        for query in (
            "SELECT name, value FROM setting WHERE name != 'seal' ORDER BY name",
            "SELECT id FROM person ORDER BY id",
            "SELECT person, value FROM fingerprint ORDER BY person",
        ):
            rows = self._connection.execute(query).fetchall()
            digest.update(json.dumps(rows, default=repr).encode() + b"\n")
        return digest.digest()


class SeenHead:
    """The head of a gallery's audit log as it was seen last, kept outside the gallery."""

    def __init__(self, gallery_id: bytes, environ: Mapping[str, str] = os.environ) -> None:
        self._path = get_state_folder(environ) / "galleries" / gallery_id.hex()

    def read(self) -> str:
        """The head that was seen last; empty if none was.

        Raises:
            GalleryRefusedError: What is there in place of it is not a head.
        """
        try:
            head = read_input(self._path, MAX_HEAD_BYTES).decode("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError):
            head = ""
        if not re.fullmatch(r"\d+:[0-9a-f]+", head):
            raise GalleryRefusedError(
                f"{self._path} does not hold what was seen of the gallery last: restore it; "
                "without it older copies go unnoticed, so remove it only if you trust the gallery"
            )
        return head

    def advance(self, find_next: Callable[[str], str]) -> None:
        """Remember the next head; where nothing can be written, older copies go unnoticed.

        Args:
            find_next: Gives the head to remember, from the one that was seen last (empty if none
                was). Nobody else remembers one in the meantime.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _hold(self._path.parent.with_suffix(".lock")):
                seen = self.read()
                head = find_next(seen)
                if head != seen:
                    self.write(head)
        except OSError as error:
            log.warning(
                "an older copy of the gallery would go unnoticed: %s cannot be written (%s)",
                self._path, error.strerror,
            )  # fmt: skip

    def write(self, head: str) -> None:
        """Remember a head whatever was seen; see `advance`."""
        write_file(self._path, f"{head}\n".encode(), mode=0o600)


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Wait for a file that one thread of one process can hold at a time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def get_state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """``$STATE_DIRECTORY`` of systemd, else ``$XDG_STATE_HOME/edgewatch``, else the user's."""
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    state = Path(environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "edgewatch"
