"""Printable text: what others sent, shown by a terminal instead of obeyed; numbers of things."""

from __future__ import annotations


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


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


def _escape_json(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(
        f"\\u{high << 8 | low:04x}" for high, low in zip(units[::2], units[1::2], strict=True)
    )
