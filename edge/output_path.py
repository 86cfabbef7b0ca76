"""Output paths: checked before the work whose result is written there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edge.errors import ConfigError
from edge.permissions import choose_remedy


def check_output_file(
    path: Path | None, option: str, *inputs: Path, makes_folders: bool = False
) -> None:
    """Refuse a file that cannot be written, or that would replace what is read.

    Args:
        path: Where the result goes; None is no fault.
        option: Its name, for the message.
        inputs: What is read; a folder among them is in nobody's way.
        makes_folders: Whether missing folders are made, and thus are no fault.

    Raises:
        ConfigError: It is a folder, an input, or cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option}: this is a folder: name a file in it", file=path)
    if any(given.is_file() and path.exists() and given.samefile(path) for given in inputs):
        raise ConfigError(
            f"{option} is the input itself, which is not written over: name another", file=path
        )
    if path.exists() and not path.is_file():  # a device or a pipe
        _require_access(path, option)
    else:
        _require_folder(path.absolute().parent, path, option, makes_folders=makes_folders)


def check_output_folder(path: Path | None, option: str, *inputs: Path) -> None:
    """Refuse a folder that cannot be made or written to, or that is what is read.

    Raises:
        ConfigError: It is a file, an input, or cannot be written to; see `check_output_file`.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{option}: this is a file: name a folder", file=path)
    if any(given.is_dir() and path.exists() and given.samefile(path) for given in inputs):
        raise ConfigError(
            f"{option} is the input itself, which is not written into: name another", file=path
        )
    _require_folder(path.absolute(), path, option, makes_folders=True)


def _require_access(path: Path, option: str) -> None:
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{option}: this cannot be written to: choose another", file=path)


def _require_folder(folder: Path, path: Path, option: str, *, makes_folders: bool) -> None:
    """Write a file without a name into the folder, or into the nearest one that exists."""
    while makes_folders and not (folder.exists() or folder.is_symlink()):
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        missing = "create the folder, or choose another" if not folder.exists() else ""
        remedy = choose_remedy(error, "write there", missing or "choose another folder")
        raise ConfigError(
            f"{option} cannot be written ({error.strerror}): {remedy}", file=path
        ) from error
