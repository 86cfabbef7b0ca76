"""TOML text as tokens: its string values and comments with the keys they belong to, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from edge.compat import tomllib

_LEXEME = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # multi-line basic
    r"|'''.*?'{3,5}"  # multi-line literal
    r'|"(?:[^"\\\n]|\\.)*"'  # basic
    r"|'[^'\n]*'"  # literal
    r"|\#[^\n]*",  # comment
    re.DOTALL,
)
_BARE_KEY = re.compile(r"([A-Za-z0-9_-]+)\s*=(?!=)")
_ASSIGNED = re.compile(r"\s*=")
_BARE_VALUE = re.compile(r"([A-Za-z0-9_-]+)(\s*=\s*)([^\s,\]}\"'\[{#]+)")


class Kind(Enum):
    """What a token is."""

    STRING = "string"
    KEY = "key"
    COMMENT = "comment"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text.

    Attributes:
        text: As it is written.
        key: Last part of the key that a string or plain value belongs to, as far as can be seen.
    """

    kind: Kind
    text: str
    key: str = ""

    @property
    def value(self) -> str:
        """What a string means; a string that cannot be read means what is between its quotes."""
        try:
            return str(tomllib.loads(f"value = {self.text}")["value"])
        except tomllib.TOMLDecodeError:
            return self.text.strip("\"'")


def read_tokens(text: str) -> Iterator[Token]:
    """Split a text; the tokens joined are the text again."""
    key, end = "", 0
    for match in _LEXEME.finditer(text):
        yield from _read_plain(text[end : match.start()], key)
        for found in _BARE_KEY.finditer(text, end, match.start()):
            key = found[1]
        lexeme, end = match[0], match.end()
        if lexeme.startswith("#"):
            yield Token(Kind.COMMENT, lexeme)
        elif _ASSIGNED.match(text, end):
            token = Token(Kind.KEY, lexeme)
            key = token.value
            yield token
        else:
            yield Token(Kind.STRING, lexeme, key)
    yield from _read_plain(text[end:], key)


def _read_plain(text: str, key: str) -> Iterator[Token]:
    """What lies between strings and comments: keys, brackets, and values without quotes."""
    end = 0
    for match in _BARE_VALUE.finditer(text):
        yield Token(Kind.PLAIN, text[end : match.start(3)], key)
        yield Token(Kind.PLAIN, match[3], match[1])
        end = match.end()
    if end < len(text):
        yield Token(Kind.PLAIN, text[end:], key)
