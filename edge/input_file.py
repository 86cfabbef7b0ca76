"""Input files: checked before a byte is read, so that none is endless, huge or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MIB = 1 << 20


def read_input(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most ``max_bytes``.

    Raises:
        OSError: It cannot be read, is a folder, device, pipe or socket, or is larger; `strerror`
            says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # of a NUL in the name
        raise OSError(errno.EINVAL, "the name holds a NUL character", str(path)) from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "this is no regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        if about.st_size <= max_bytes:
            content = file.read(max_bytes + 1)  # it may grow meanwhile
            if content is None:  # nothing is there yet, as in some files of /proc
                raise OSError(errno.EAGAIN, "this is no regular file", str(path))
            if len(content) <= max_bytes:
                return content
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes / MIB:.0f} MiB", str(path))
