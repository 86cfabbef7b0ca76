"""Printable text: what others sent, shown by a terminal instead of obeyed; numbers of things."""

from __future__ import annotations

import re
from collections.abc import Mapping


def escape_controls(text: str, keep: str = "") -> str:
    r"""Show control, direction and other unprintable characters as `\x1b`, except ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escape(character)
        for character in text
    )


def escape_controls_in_json(line: bytes) -> bytes:
    r"""The same JSON, in which no string has raw unprintable characters (`\u009b`)."""
    if line.isascii():  # ASCII controls are escaped in any JSON
        return line.replace(b"\x7f", b"\\u007f")
    text = line.decode(errors="replace")
    return "".join(
        character if character.isprintable() or character == "\n" else _escape_json(character)
        for character in text
    ).encode()


def format_count(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun: ``1 photo``, ``2 photos``, ``0 people``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def format_bytes(size: float) -> str:
    """A size in powers of 1000: ``1.5 GB``, ``200 GB``, ``900 B``."""
    power = next((n for n in range(4) if size < 1000 ** (n + 1)), 4)
    return f"{size / 1000**power:.4g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Numbers of things by their label, the most frequent first: ``2 persons, 1 car``."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(format_count(n, label, pluralize(label)) for label, n in ranked if n)


def pluralize(label: str) -> str:
    """The English plural of a detector's label: ``persons``, ``buses``, ``sheep``."""
    head, blank, noun = label.rpartition(" ")
    if noun in _PLURALS:
        plural = _PLURALS[noun]
    elif re.search(r"(s|x|z|ch|sh)$", noun):
        plural = f"{noun}es"
    elif re.search(r"[^aeiou]y$", noun):
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return f"{head}{blank}{plural}"


_UNCHANGED = ("people", "sheep", "scissors", "skis", "deer", "fish", "aircraft", "glasses")
_PLURALS = {
    "knife": "knives", "mouse": "mice", "man": "men", "woman": "women", "child": "children",
    **{noun: noun for noun in _UNCHANGED},
}  # fmt: skip


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


def _escape_json(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(
        f"\\u{high << 8 | low:04x}" for high, low in zip(units[::2], units[1::2], strict=True)
    )
