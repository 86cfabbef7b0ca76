"""Disks: free space where files are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edge.diagnostics.finding import Finding

MIN_FREE_BYTES = 2 * 2**30


def check_disks(
    folders: Iterable[Path], query: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Iterator[Finding]:
    """Free space at each folder that is, or will be, written to; one line per file system."""
    seen: set[int] = set()
    for folder in folders:
        existing = _find_existing(folder)
        device = existing.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        yield _check_disk(folder, existing, query)


def _check_disk(
    folder: Path, existing: Path, query: Callable[[Path], os.statvfs_result]
) -> Finding:
    try:
        system = query(existing)
    except OSError as error:
        hint = "check the mount"
        return Finding("disk", False, f"{existing}: {error.strerror or error}", hint)
    free_bytes = system.f_bavail * system.f_frsize
    detail = f"{free_bytes / 2**30:.1f} GiB free at {existing}"
    if system.f_flag & os.ST_RDONLY:
        return Finding("disk", False, f"{existing} is read-only", f"make {folder} writable")
    if free_bytes < MIN_FREE_BYTES:
        hint = "free some space: galleries, engines and outputs are stored there"
        return Finding("disk", False, detail, hint)
    return Finding("disk", True, detail)


def _find_existing(folder: Path) -> Path:
    """The folder, or the nearest above it that can be looked at."""
    for candidate in (folder, *folder.parents):
        try:
            candidate.stat()
        except OSError:
            continue
        return candidate
    return Path("/")
