"""Permissions: what to do about a file that this user may not read or write."""

from __future__ import annotations

import errno
import os
from typing import Literal


def choose_remedy(error: OSError, action: Literal["read it", "write there"], otherwise: str) -> str:
    """The remedy for ``error``: ``otherwise``, unless its cause is permissions or a read-only disk.

    The user is given by number, which is what the owner of a container's volume needs.
    """
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"let user {os.geteuid()} {action} (chown, chmod)"
    if error.errno == errno.EROFS:
        return "mount something writable there"
    return otherwise
