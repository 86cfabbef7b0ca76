"""Scope: the boxes of a fleet at which a person's consent holds."""

from __future__ import annotations

import re

from edge.errors import GalleryError
from edge.people.gallery.records import EVERY_BOX

_BOX = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_boxes(text: str) -> tuple[str, ...]:
    """Names of boxes, separated by commas; `*` for all, nothing for none.

    Raises:
        GalleryError: One is no name of a box.
    """
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name != EVERY_BOX and not _BOX.fullmatch(name):
            raise GalleryError(
                f"{name!r} is no name of a box: use letters, digits, _ and -, as in gate,door"
            )
    return (EVERY_BOX,) if EVERY_BOX in names else tuple(names)
