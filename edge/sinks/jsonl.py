"""A file with one message per line, or standard output.

Every line is complete: a batch is one write, and a part that a full disk cut off is removed.
Thumbnails are left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field

from edge.config import Table
from edge.errors import SinkError
from edge.wire.schema import Message, encode_line


class Options(Table):
    """A file with one message per line.

    Attributes:
        path: File to append to; `-` is standard output.
        rotate_bytes: Rename the file to PATH.1 before it grows beyond this size; 0 never does.
        keep: Number of old files to keep; PATH.1 is the newest.
    """

    path: str = Field(min_length=1)
    rotate_bytes: int = Field(default=100_000_000, ge=0)
    keep: int = Field(default=5, ge=1, le=1000)


class JsonLines:
    """Appends messages to a file."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path = Path(options.path)
        self._file = -1
        self._size_bytes: int | None = None  # None: not a regular file, never truncated or rotated

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the file.

        Raises:
            SinkError: It cannot be opened.
        """
        with self._translate_errors("open"):
            self._open()
        try:
            yield
        finally:
            os.close(self._file)
            self._file = -1

    def send(self, messages: Sequence[Message]) -> None:
        """Append the messages.

        Raises:
            SinkError: The disk is full, or the reader of the pipe is gone.
        """
        lines = b"".join([encode_line(message.topic, message.body) for message in messages])
        with self._translate_errors("write"):
            if self._is_full(len(lines)):
                self._rotate()
            self._write(lines)

    def idle(self) -> None:
        """Do nothing: `send` writes everything at once."""

    def _open(self) -> None:
        if self._options.path == "-":
            self._file, self._size_bytes = os.dup(1), None
            return
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        status = os.fstat(self._file)
        self._size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        if self._size_bytes and os.pread(self._file, 1, self._size_bytes - 1) != b"\n":
            self._write(b"\n")  # a crash cut the last line

    def _write(self, lines: bytes) -> None:
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._file, lines[written:])
        except OSError:
            written = lines.rfind(b"\n", 0, written) + 1
            if self._size_bytes is not None:
                with suppress(OSError):
                    os.ftruncate(self._file, self._size_bytes + written)
            raise
        finally:
            if self._size_bytes is not None:
                self._size_bytes += written

    def _is_full(self, more_bytes: int) -> bool:
        limit, size = self._options.rotate_bytes, self._size_bytes
        return bool(limit and size and size + more_bytes > limit)

    def _rotate(self) -> None:
        def old(number: int) -> Path:
            return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

        for number in range(self._options.keep - 1, -1, -1):
            if old(number).exists():
                old(number).replace(old(number + 1))
        full = self._file
        self._open()
        os.close(full)

    @contextmanager
    def _translate_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = "standard output" if self._options.path == "-" else str(self._path)
            remedy = "free space or check path and permissions"
            raise SinkError(f"cannot {verb} {where}: {error.strerror}: {remedy}") from error


def build(options: Options) -> JsonLines:
    """Create the sink that options describe."""
    return JsonLines(options)
