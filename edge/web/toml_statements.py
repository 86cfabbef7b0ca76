"""TOML text as statements: headers and assignments with where they stand, for small changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge.web.toml_tokens import Kind, read_tokens

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, or a line without one.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its last one, line end included.
        key: Its key, in parts; empty for a blank line, a comment, or a key that is quoted.
        header: ``[``, ``[[`` or nothing.
        blank: Whether nothing but blanks and comments are in it.
    """

    start: int
    end: int
    key: tuple[str, ...]
    header: str
    blank: bool


def read_statements(text: str) -> Iterator[Statement]:
    """The statements of a valid TOML text, in order; joined they are the text."""
    start = offset = depth = 0
    blank = True
    for token in read_tokens(text):
        if token.kind is not Kind.PLAIN:
            offset += len(token.text)
            blank = blank and token.kind is Kind.COMMENT
            continue
        for character in token.text:
            offset += 1
            depth += (character in "[{") - (character in "]}")
            blank = blank and character.isspace()
            if character == "\n" and depth == 0:
                yield _describe(text, start, offset, blank=blank)
                start, blank = offset, True
    if start < len(text):
        yield _describe(text, start, len(text), blank=blank)


def _describe(text: str, start: int, end: int, *, blank: bool) -> Statement:
    line = text[start:end]
    found = _HEADER.match(line)
    header = found[1] if found else ""
    found = found or _KEY.match(line)
    key = tuple(part.strip() for part in found[found.lastindex or 0].split(".")) if found else ()
    return Statement(start, end, () if blank else key, "" if blank else header, blank)
