"""A file with one message per line, or standard output.

Every line is complete: a batch is one write, and a part that a full disk cut off is removed.
Thumbnails are left out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field

from edge.config import Table
from edge.errors import SinkError
from edge.permissions import choose_remedy
from edge.wire.schema import Message, encode_line


class Options(Table):
    """A file with one message per line.

    Attributes:
        path: Regular file to append to; `-` is standard output.
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
        self._is_new = False
        self._size_bytes: int | None = None  # None: not a regular file, never truncated or rotated

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the file; at the end a new one that is still empty is removed.

        Raises:
            SinkError: It cannot be opened, or is no regular file.
        """
        with self._translate_errors("open"):
            self._open()
        try:
            yield
        finally:
            if self._is_new and self._size_bytes == 0:
                self._remove()
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
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._is_new = _is_free(self._path)
        file = os.open(self._path, flags, 0o640)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):  # it has just become that
            os.close(file)
            raise _NotRegularError
        self._file, self._size_bytes = file, status.st_size
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

        _is_free(old(self._options.keep))
        for number in range(self._options.keep - 1, -1, -1):
            if old(number).exists():
                old(number).replace(old(number + 1))
        full = self._file
        self._open()
        os.close(full)

    def _remove(self) -> None:
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._file), self._path.stat()):
                self._path.resolve().unlink()

    @contextmanager
    def _translate_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except _NotRegularError:
            raise SinkError(
                f"cannot {verb} {self._path}: a file to append to is a regular one, not a device, "
                "pipe or socket: choose another path, or - for standard output"
            ) from None
        except OSError as error:
            where = "standard output" if self._options.path == "-" else str(self._path)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            other = "free space" if full else "check path and permissions"
            remedy = choose_remedy(error, "write there", other)
            raise SinkError(f"cannot {verb} {where}: {error.strerror}: {remedy}") from error


class _NotRegularError(OSError):
    """There is something that is no regular file."""


def _is_free(path: Path) -> bool:
    """Whether nothing is there yet; it is not opened, which a pipe or device would notice.

    Raises:
        OSError: There is something else than a regular file, or it cannot be told.
    """
    if path.resolve().is_relative_to("/proc") or path.resolve().is_relative_to("/sys"):
        raise _NotRegularError
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise _NotRegularError
    return False


def build(options: Options) -> JsonLines:
    """Create the sink that options describe."""
    return JsonLines(options)
