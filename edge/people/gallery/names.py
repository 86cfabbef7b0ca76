"""Names of people: what is stored, and how they are compared."""

from __future__ import annotations

import unicodedata

from edge.errors import GalleryError

MAX_LENGTH = 100


def normalize_name(name: str) -> str:
    """A name as it is stored: single spaces, none at the ends.

    Raises:
        GalleryError: It is empty, too long or not printable.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= MAX_LENGTH or not name.isprintable():
        raise GalleryError(f"a name has 1 to {MAX_LENGTH} printable characters: choose another")
    return name


def fold_name(name: str) -> str:
    """Equal for names that differ only in case, spaces or the composition of their letters."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
