"""Atomic files: written beside their target, then put in its place.

A target that is a device, a FIFO or a socket, such as /dev/null or /dev/stdout, is never replaced:
what was written is copied into it. A symbolic link stays, and the file it names is replaced.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_file(
    path: Path, *, sync: bool = False, mode: int = 0o666, suffix: str = ".part", keep: bool = False
) -> Iterator[Path]:
    """A path to write to; on success it becomes ``path``, on failure it is removed.

    Args:
        path: The file to write or replace.
        sync: Wait until the file and its folder entry are on the disk, so that a power cut
            leaves the old file or the new one.
        mode: Permission bits, from which the umask is taken away.
        suffix: How the temporary name ends, for writers that choose a format by it.
        keep: Keep a ``path`` that exists by then, as another process may have created it.

    Raises:
        OSError: The folder cannot be written or the disk is full; ``path`` is as it was.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not (path.is_file() or path.is_dir()):
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            yield Path(file.name)
            with Path(file.name).open("rb") as content, path.open("wb") as target:
                shutil.copyfileobj(content, target)
        return
    part = _name_part(path, suffix)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield part
        if sync:
            _sync(part)
        if keep:
            with suppress(FileExistsError):
                path.hardlink_to(part)
            part.unlink()
        else:
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    if sync:
        _sync(path.parent)


def write_file(
    path: Path,
    content: bytes | str,
    *,
    sync: bool = False,
    mode: int = 0o666,
    keep: bool = False,
) -> None:
    """Write bytes, or text as UTF-8, whole or not at all; see `replace_file`."""
    with replace_file(path, sync=sync, mode=mode, keep=keep) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_together(texts: Mapping[Path, str], *, mode: int) -> None:
    """Write regular files as UTF-8, all of them or none; all that can fail early comes first.

    Whoever is killed in between leaves each file whole, old or new.

    Raises:
        OSError: One cannot be written; all are as they were.
    """
    with ExitStack() as parts, ExitStack() as undo:
        staged = []
        for path, text in texts.items():
            target = path.resolve() if path.is_symlink() else path
            part = _name_part(target)
            parts.callback(part.unlink, missing_ok=True)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            part.write_text(text, encoding="utf-8")
            _sync(part)
            staged.append((part, target))
        for part, target in staged:
            if target.exists():
                former = _name_part(target)
                parts.callback(former.unlink, missing_ok=True)
                _copy(target, former)
                undo.callback(former.replace, target)
            else:
                undo.callback(target.unlink, missing_ok=True)
            part.replace(target)
        for folder in {target.parent for _, target in staged}:
            _sync(folder)
        undo.pop_all()


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of ``path`` beside it, under a temporary name."""
    path = path.resolve() if path.is_symlink() else path
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    for left in path.parent.iterdir():
        if ours.fullmatch(left.name):
            left.unlink(missing_ok=True)


def _name_part(path: Path, suffix: str = ".part") -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")


def _copy(path: Path, copy: Path) -> None:
    """Give a file a second name, which takes no space, or copy it where files have one alone."""
    try:
        copy.hardlink_to(path)
    except OSError:
        shutil.copy2(path, copy)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
