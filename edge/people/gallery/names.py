"""Names of people, as they are compared."""

from __future__ import annotations

import unicodedata


def folded(name: str) -> str:
    """Equal for names that differ in case, in blanks or in how their letters are composed."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
