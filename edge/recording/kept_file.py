"""Kept files: made for their owner alone, and opened without following a link on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


def open_kept(folder: Path, path: str) -> BinaryIO:
    """Open a file of the storage folder to read it; never waits, as for a FIFO.

    Args:
        folder: The storage folder, which may be a link itself.
        path: Relative to it, with forward slashes.

    Raises:
        OSError: It is not there, is no regular file, or there is a link on the way.
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\0" in path:
        raise OSError(errno.EINVAL, "this is no file of the storage folder", path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    at = os.open(folder, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(parts[-1], flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "this is no regular file", path)
    return os.fdopen(descriptor, "rb")


def create_file(path: Path) -> BinaryIO:
    """Create a file, or empty one, to write it; a new one is for its owner alone.

    Raises:
        OSError: It cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, FILE_MODE), "wb")


def make_folders(path: Path) -> None:
    """Create a folder, and those above that are missing, for their owner alone.

    Raises:
        OSError: One cannot be created.
    """
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def withdraw(path: Path) -> None:
    """Take a file of ours away from everybody but its owner, if it is there.

    It stays as it is where that cannot be: it belongs to somebody else, or its disk knows no modes.
    """
    with contextlib.suppress(OSError):
        mode = path.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            path.chmod(FILE_MODE)
