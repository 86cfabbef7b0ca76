"""The pictures below a folder, and what lies there and is no picture that can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trainers.data.dataset import IMAGE_SUFFIXES, Problem

_UNREAD = {
    ".heic": "convert it to JPEG",
    ".heif": "convert it to JPEG",
    ".jxl": "convert it to JPEG or PNG",
    ".dng": "develop it to JPEG",
    ".nef": "develop it to JPEG",
    ".cr2": "develop it to JPEG",
    ".arw": "develop it to JPEG",
}
_COMPANIONS = frozenset(
    {"", ".txt", ".xml", ".json", ".csv", ".yaml", ".yml", ".names", ".data", ".labels", ".cache"}
    | {".md", ".db", ".ini", ".npy", ".npz"}
)


def is_hidden(relative: Path) -> bool:
    """Whether a path belongs to a file system or a program: ``.git``, ``@eaDir``, ``._a.jpg``."""
    return any(p.startswith((".", "@")) or p == "__MACOSX" for p in relative.parts if p != "..")


def find_pictures(
    folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES
) -> tuple[list[Path], list[Problem]]:
    """The pictures below a folder, sorted, and what was passed over, by suffix.

    Hidden files and folders are none of the data's.
    """
    files = [p for p in sorted(folder.rglob("*")) if not is_hidden(p.relative_to(folder))]
    pictures = [p for p in files if p.suffix.lower() in suffixes and p.is_file()]
    known = suffixes | _COMPANIONS
    others = [p for p in files if p.suffix.lower() not in known and p.is_file()]
    return pictures, list(tell_unread(folder, others))


def tell_unread(folder: Path, files: Iterable[Path]) -> Iterable[Problem]:
    """One line for each suffix of files that are not read."""
    count = Counter(p.suffix.lower() for p in files)
    for suffix, n in sorted(count.items()):
        remedy = _UNREAD.get(suffix, "convert it if it is a picture")
        yield Problem(folder, 0, f"{n} {suffix} file(s) were passed over, not read here: {remedy}")


def list_some(names: Iterable[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
