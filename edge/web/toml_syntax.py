"""TOML text as a syntax tree: statements and values with where they stand, for small changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge.compat import tomllib

Key = tuple[str, ...]

_SKIPPED = re.compile(r"(?:\s|#[^\n]*)*")
_PART = re.compile(r"""\s*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*(\.?)""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}\n#]*[^,\]}\n#\s]")  # number, boolean or time


@dataclass(frozen=True, slots=True)
class Value:
    """A value.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its last one.
        items: Elements of an array, entries of an inline table; None of what has no parts.
    """

    start: int
    end: int
    items: tuple[Item, ...] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """An element of an array, or an entry of an inline table.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its comma, or behind its value where there is none.
        key: Its key in an inline table; empty in an array.
    """

    start: int
    end: int
    key: Key
    value: Value


@dataclass(frozen=True, slots=True)
class Statement:
    """A header or an assignment.

    Attributes:
        start: Offset of its first line.
        end: Offset behind its last line.
        table: The table that it is in, or which it opens.
        key: Its key in that table; empty of a header.
        value: What is assigned; None of a header.
        is_array: Whether it is a header in two brackets.
    """

    start: int
    end: int
    table: Key
    key: Key = ()
    value: Value | None = None
    is_array: bool = False


def read_statements(text: str) -> Iterator[Statement]:
    """The statements of a valid TOML text, in order; comments and blank lines lie between them."""
    table: Key = ()
    at = _skip(text, 0)
    while at < len(text):
        start, key, value = text.rfind("\n", 0, at) + 1, Key(), None
        is_array = text.startswith("[[", at)
        is_header = text[at] == "["
        if is_header:
            table, at = _read_key(text, at + 1 + is_array)
        else:
            key, at = _read_key(text, at)
            value = _read_value(text, _skip(text, at + 1))
            at = value.end
        end = text.find("\n", at) + 1 or len(text)
        yield Statement(start, end, table, key, value, is_array)
        at = _skip(text, end)


def _skip(text: str, at: int) -> int:
    """The offset behind white space and comments."""
    found = _SKIPPED.match(text, at)
    return found.end() if found else at


def _read_key(text: str, at: int) -> tuple[Key, int]:
    """A key in parts, and the offset behind it."""
    parts = list[str]()
    while found := _PART.match(text, at):
        part, at = found[1], found.end()
        parts.append(tomllib.loads(f"part = {part}")["part"] if part[0] in "\"'" else part)
        if not found[2]:
            break
    return tuple(parts), at


def _read_value(text: str, at: int) -> Value:
    if text[at] in "[{":
        return _read_items(text, at)
    found = _STRING.match(text, at) or _BARE.match(text, at)
    return Value(at, found.end() if found else at)


def _read_items(text: str, start: int) -> Value:
    """An array or an inline table."""
    items = list[Item]()
    at = _skip(text, start + 1)
    while text[at] not in "]}":
        begin, key = at, Key()
        if text[start] == "{":
            key, at = _read_key(text, at)
            at = _skip(text, at + 1)
        value = _read_value(text, at)
        at = _skip(text, value.end)
        if text[at] == ",":
            at += 1
            items.append(Item(begin, at, key, value))
            at = _skip(text, at)
        else:
            items.append(Item(begin, value.end, key, value))
    return Value(start, at + 1, tuple(items))
