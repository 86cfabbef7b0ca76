"""Calls that cannot be interrupted, made in a thread that may be abandoned."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading

from edge.errors import SourceError


class NameLookup:
    """Looks up host names in a thread, since the C library cannot be interrupted."""

    def __init__(self) -> None:
        self._pending: threading.Thread | None = None
        self._resolved = False

    def __call__(self, host: str, timeout_s: float) -> bool:
        """Whether the host has an address; False as well when no answer came in time."""
        if self._pending is None or not self._pending.is_alive():
            self._resolved = False
            self._pending = threading.Thread(target=self._look_up, args=(host,), daemon=True)
            self._pending.start()
        self._pending.join(timeout_s)
        return self._resolved and not self._pending.is_alive()

    def _look_up(self, host: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            self._resolved = bool(socket.getaddrinfo(host, None))


class FileProbe:
    """Looks at a file in a thread, since a mount whose server is away blocks without end."""

    def __init__(self) -> None:
        self._pending: threading.Thread | None = None
        self._problem = ""

    def check(self, path: str, timeout_s: float) -> None:
        """Check that a path is a regular file that can be read now.

        Raises:
            SourceError: It is not, or its file system did not answer in time.
        """
        if self._pending is None or not self._pending.is_alive():
            self._problem = ""
            self._pending = threading.Thread(target=self._look, args=(path,), daemon=True)
            self._pending.start()
        self._pending.join(timeout_s)
        if self._pending.is_alive():
            raise SourceError(
                f"{path}: its file system did not answer within {timeout_s:g} s: check the mount"
            )
        if self._problem:
            raise SourceError(f"{path}: {self._problem}")

    def _look(self, path: str) -> None:
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - only the mode
            if not stat.S_ISREG(mode):
                self._problem = _name_type(mode)
                return
            with open(path, "rb") as file:  # noqa: PTH123 - so that a hung mount hangs here
                file.read(1)
        except OSError as error:
            self._problem = f"{error.strerror}: check the path"


def _name_type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "Is a directory: name one recording in it"
    if stat.S_ISCHR(mode):
        return 'is a device, not a recording: use kind = "camera" for a camera of this machine'
    return "is no regular file (a FIFO, a socket or a disk), which may block: name a recording"
