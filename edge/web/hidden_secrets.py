"""Secrets of a configuration: hidden where its text is shown, put back where it is written.

Each is shown as ``[hidden 1a2b3c4d5e6f]``, which stands for one value of one key and tells nothing
about it to who does not know this run's key. An address is shown without its secrets before that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator

from edge.errors import ConfigError
from edge.redaction import redact, show_address
from edge.web.toml_tokens import Kind, Token, read_tokens

_SECRET_KEY = re.compile(
    r"pass|pwd|token|secret|auth|cred|(?:^|_)(?:pw|pin|key)(?:$|_)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_file|_path|_name|_s|_px|_bytes)$", re.IGNORECASE)
_REFERENCE = re.compile(r"credential:[\w.-]+|\$\{\w+\}")  # to a secret that is somewhere else
_TAG = re.compile(r"\[hidden ([0-9a-f]{12})\]")


class SecretKeeper:
    """Hides secrets, and knows what it hid for as long as the node runs."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def hide(self, text: str) -> str:
        """A text without its secrets."""
        return "".join(self._show(token) for token in read_tokens(text))

    def restore(self, text: str, original: str) -> str:
        """A text that was shown and perhaps edited, with the secrets of the one it was shown for.

        Raises:
            ConfigError: Something hidden was edited, or is not in the original.
        """
        known: dict[tuple[str, str], str] = {}
        for token in read_tokens(original):
            known[token.key, self._show(token)] = token.text
        return "".join(_restore(text, known))

    def _show(self, token: Token) -> str:
        match token.kind:
            case Kind.STRING:
                shown = _show_value(token)
                if shown is None:
                    return token.text
                tag = f"[hidden {self._sign(token)}]"
                return f'"{_escape(f"{shown} {tag}".strip())}"'
            case Kind.COMMENT:
                shown = redact(token.text)
                hidden = shown != token.text
                return f"{shown} [hidden {self._sign(token)}]" if hidden else token.text
            case Kind.PLAIN if _is_secret(token.key) and not set(token.text) & set("=[]{},\n "):
                return f'"[hidden {self._sign(token)}]"'
            case _:
                return token.text

    def _sign(self, token: Token) -> str:
        content = f"{token.kind}\0{token.key}\0{token.text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()[:12]


def _restore(text: str, known: dict[tuple[str, str], str]) -> Iterator[str]:
    for token in read_tokens(text):
        if not _TAG.search(token.text):
            yield token.text
            continue
        original = known.get((token.key, token.text))
        if original is None:
            raise ConfigError(
                "something hidden was changed or is not known any more: write the whole value anew",
                line=None,
                key=token.key,
            )
        yield original


def _is_secret(key: str) -> bool:
    return bool(_SECRET_KEY.search(key)) and not _NO_SECRET.search(key)


def _show_value(token: Token) -> str | None:
    """What may be shown of a string that holds a secret; None if it holds none."""
    value = token.value
    if _REFERENCE.fullmatch(value):
        return None
    if _is_secret(token.key):
        return "" if value else None
    if "://" in value:
        if not set(value.partition("://")[2]) & set("@?#/"):
            return None  # host and port alone, also where they are patterns
        shown = show_address(value)
        return None if shown == value else shown
    shown = redact(value)
    return None if shown == value else shown


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
