"""Text files of a machine, which may be missing, unreadable or garbage."""

from __future__ import annotations

import re
from pathlib import Path

MAX_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """The text without NUL bytes and white space around it; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except (OSError, ValueError):
        return ""
    return content.decode(errors="replace").strip("\0 \n\t\r")


def read_number(path: Path) -> int | None:
    """The whole number that the file consists of, if it does."""
    text = read_text(path)
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def list_matches(folder: Path, pattern: str) -> list[Path]:
    """What matches a glob below a folder, sorted; none if the folder cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
