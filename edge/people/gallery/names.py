"""Names of people: what is stored, and how they are compared."""

from __future__ import annotations

import unicodedata

from edge.errors import GalleryError
from edge.event import UNNAMED

MAX_LENGTH = 100
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"  # what decoders put in place of bytes that are no UTF-8


def normalize_name(name: str) -> str:
    """A name as it is stored: single spaces, none at the ends.

    Raises:
        GalleryError: It is empty, too long, not printable, was no UTF-8, or hides who somebody is.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= MAX_LENGTH or not name.isprintable():
        raise GalleryError(f"a name has 1 to {MAX_LENGTH} printable characters: choose another")
    if _UNDECODABLE in name:
        raise GalleryError("the name has characters that could not be read: give it as UTF-8")
    if fold_name(name) == fold_name(UNNAMED):
        raise GalleryError(f"{name!r} is shown to who may not see names: choose another name")
    return name


def fold_name(name: str) -> str:
    """Equal for names that differ only in case, spaces or the composition of their letters."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
