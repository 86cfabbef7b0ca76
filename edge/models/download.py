"""Downloads: one file of a known size and hash, resumed where it stopped."""

from __future__ import annotations

import fcntl
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge import __version__
from edge.compat import file_digest
from edge.errors import EdgeError, ModelError
from edge.models.opener import build_opener

_CHUNK = 1 << 16
_ATTEMPTS = 4  # within one call, when connections drop
Progress = Callable[[int], None]  # called with the bytes that are there
OTHER_FILE = (
    "it is not the pinned file and was deleted. Try again later; if that does not help, the file "
    "was replaced by its publisher or on the way to you"
)


def ignore_progress(count: int) -> None:
    """Do nothing."""


def has_hash(path: Path, sha256: str) -> bool:
    """Whether a file has this SHA-256."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == sha256


def explain_write_error(error: OSError, file: Path) -> EdgeError:
    """The error that says why a file could not be written, and what to do."""
    return EdgeError(
        f"the file cannot be written ({error.strerror or error}): free some space or choose "
        "another place with --to",
        file=file,
    )


def refuse_special(file: Path) -> None:
    """Refuse what is there but no regular file: a FIFO would be waited for.

    Raises:
        EdgeError: It is a FIFO, a folder or a device, for instance.
    """
    if file.exists() and not file.is_file():
        raise EdgeError(
            "this is no regular file: remove it or choose another place with --to", file=file
        )


def lock(opened: IO[bytes] | int, file: Path) -> None:
    """Take what is ``opened`` for this process, until it is closed.

    Raises:
        EdgeError: Another process has it; ``file`` is what it downloads.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EdgeError(
            "another process is downloading the file: wait for it", file=file
        ) from error


class _DroppedError(Exception):
    """The connection ended early; the partial download is kept."""


@dataclass(frozen=True, slots=True)
class Download:
    """What to download, and what it must be.

    Attributes:
        url: ``http`` or ``https``; redirects to other schemes are not followed.
        target: Where the complete and verified file goes; ``.part`` beside it holds the partial
            download until then.
        timeout_s: Silence after which the server counts as failed.
    """

    url: str
    target: Path
    size_bytes: int
    sha256: str
    timeout_s: float = 30

    def run(self, progress: Progress = ignore_progress) -> None:
        """Download what is missing and verify the file.

        Raises:
            EdgeError: The server fails or the disk is full; the partial download is kept.
            ModelError: The bytes differ from what is expected; they are deleted.
        """
        if self.target.is_file() and has_hash(self.target, self.sha256):
            return
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            refuse_special(self._part)
            with self._part.open("ab") as part:
                lock(part, self._part)
                self._fill(part, progress)
            self._finish()
        except OSError as error:
            raise explain_write_error(error, self._part) from error

    @property
    def _part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    def _fill(self, part: IO[bytes], progress: Progress) -> None:
        if part.seek(0, 2) > self.size_bytes:
            part.truncate(0)
        for attempt in range(_ATTEMPTS):
            before = part.seek(0, 2)
            if before == self.size_bytes:
                return
            try:
                self._fetch(part, before, progress)
            except _DroppedError as error:
                there = part.seek(0, 2)
                if attempt + 1 == _ATTEMPTS or there == before:
                    raise EdgeError(
                        f"{self.url} {error}, {there} of {self.size_bytes} bytes are here: run the "
                        "command again to resume"
                    ) from error

    def _fetch(self, part: IO[bytes], start: int, progress: Progress) -> None:
        """Request the rest and append it.

        Raises:
            _DroppedError: The connection failed, went silent or ended early.
            EdgeError: The server refuses.
            ModelError: The server has another file.
        """
        headers = {"User-Agent": f"edgewatch/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - see build_opener
        try:
            with build_opener().open(request, timeout=self.timeout_s) as answer:
                if start and not _continues(answer, start):
                    part.truncate(0)  # the server sends everything again
                self._append(part, answer, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._part.unlink()
                raise ModelError(
                    f"{self.url} is shorter than {start} bytes: {OTHER_FILE}"
                ) from error
            raise EdgeError(f"{self.url} answers {error.code} {_to_line(error.reason)}") from error
        except urllib.error.URLError as error:
            raise _DroppedError(f"cannot be reached ({_to_line(error.reason)})") from error
        except TimeoutError as error:
            raise _DroppedError(f"went silent for {self.timeout_s:g} s") from error
        except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
            raise _DroppedError(
                f"dropped the connection ({_to_line(error) or type(error).__name__})"
            ) from error
        except ValueError as error:  # UnicodeError is one
            raise EdgeError(
                f"{self.url} leads to a broken address ({_to_line(error)}): try again later"
            ) from error

    def _append(
        self, part: IO[bytes], answer: http.client.HTTPResponse, progress: Progress
    ) -> None:
        there = part.seek(0, 2)
        if answer.length is not None and there + answer.length != self.size_bytes:
            self._refuse(f"has {there + answer.length} bytes, not {self.size_bytes}")
        progress(there)
        while chunk := answer.read1(_CHUNK):
            there += len(chunk)
            if there > self.size_bytes:
                self._refuse(f"has more than {self.size_bytes} bytes")
            part.write(chunk)
            part.flush()
            progress(there)
        if there < self.size_bytes:
            raise _DroppedError("ended early")

    def _finish(self) -> None:
        if not has_hash(self._part, self.sha256):
            self._refuse("has another sha256")
        self._part.replace(self.target)

    def _refuse(self, why: str) -> None:
        with suppress(FileNotFoundError):
            self._part.unlink()
        raise ModelError(f"{self.url} {why}: {OTHER_FILE}")


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the rest, as requested."""
    content_range = answer.headers.get("Content-Range", "")
    return answer.status == http.HTTPStatus.PARTIAL_CONTENT and content_range.startswith(
        f"bytes {start}-"
    )


def _to_line(reason: object) -> str:
    """What a server or the library says, in one line."""
    return " ".join(str(reason).split())
