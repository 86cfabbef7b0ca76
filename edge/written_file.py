"""Files that a command writes for the service: root writes them, the service's user reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edge.atomic_file import write_file
from edge.errors import ConfigError
from edge.permissions import choose_remedy


def write_for_service(path: Path, lines: Iterable[str], mode: int) -> None:
    """Write lines whole or not at all; a file that was there keeps its owner and group.

    Root gives a new one to the group of its folder, so that a ``mode`` which lets the group read
    lets the service read.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        former = path.stat() if path.exists() else None
        write_file(path, "\n".join(lines) + "\n", sync=True, mode=mode)
        if former is None and os.geteuid() == 0:
            os.chown(path, -1, path.parent.stat().st_gid)
        elif former and (former.st_uid, former.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(path, former.st_uid, former.st_gid)
    except OSError as error:
        remedy = choose_remedy(error, "write there", "choose another path")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
