"""Finding: the result of one check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        ok: Whether nothing needs to be done.
        hint: What to do about it; empty when ok.
    """

    part: str
    ok: bool
    detail: str
    hint: str = ""
