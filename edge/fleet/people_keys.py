"""Keys with which galleries travel: the hub signs with one, and each box opens with its own.

The server between them has neither.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.atomic_file import write_file
from edge.errors import ConfigError, EdgeError
from edge.input_file import read_input
from edge.permissions import choose_remedy

KEY_BYTES: Final = 32
HUB, BOX = "hub_", "box_"  # how public keys begin, so that neither passes for the other
_SECRET_HUB, _SECRET_BOX = "secret_hub_", "secret_box_"


class HubKey:
    """The private key of a hub: whoever has it decides whom boxes name."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @classmethod
    def ensure(cls, path: Path) -> HubKey:
        """The key in a file, which is made if it is missing.

        Raises:
            ConfigError: It cannot be read or written, or is none.
        """
        return cls(_ensure(path, _SECRET_HUB))

    @property
    def public(self) -> str:
        """What boxes pin."""
        return _encode(HUB, self._key.public_key().public_bytes_raw())

    def sign(self, content: bytes) -> bytes:
        """The signature of something."""
        return self._key.sign(content)

    def derive_receipt_key(self, box: str, number: int) -> bytes:
        """What a box proves with that it has what the hub told it."""
        info = f"edgewatch people 1 receipt\0{box}\0{number}".encode()
        return HKDF(SHA256(), KEY_BYTES, None, info).derive(self._secret)


class BoxKey:
    """The private key of a box: only with it can the box read what is sent to it."""

    def __init__(self, secret: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(secret)

    @classmethod
    def ensure(cls, path: Path) -> BoxKey:
        """The key in a file, which is made if it is missing.

        Raises:
            ConfigError: It cannot be read or written, or is none.
        """
        return cls(_ensure(path, _SECRET_BOX))

    @property
    def public(self) -> str:
        """What the hub pins."""
        return _encode(BOX, self._key.public_key().public_bytes_raw())

    def agree(self, ephemeral: bytes, about: bytes) -> bytes:
        """The key that `agree_with_box` gave beside ``ephemeral``.

        Raises:
            EdgeError: That is no public key.
        """
        try:
            secret = self._key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        except ValueError as error:
            raise EdgeError("what the hub sent names no key") from error
        return _derive(secret, ephemeral, about)


def agree_with_box(public: str, about: bytes) -> tuple[bytes, bytes]:
    """A new key that only the box can have, and the bytes from which it gets it.

    Raises:
        ConfigError: ``public`` is no key of a box.
    """
    own = X25519PrivateKey.generate()
    ephemeral = own.public_key().public_bytes_raw()
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(_decode(BOX, public)))
    except ValueError as error:  # of a point with which every secret is the same
        raise ConfigError(f"{public!r} is no key of a box") from error
    return _derive(secret, ephemeral, about), ephemeral


def verify(public: str, signature: bytes, content: bytes) -> bool:
    """Whether the hub with this public key signed something."""
    try:
        Ed25519PublicKey.from_public_bytes(_decode(HUB, public)).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def check_hub_key(public: str) -> str:
    """The public key of a hub.

    Raises:
        ConfigError: It is none.
    """
    _decode(HUB, public)
    return public


def check_box_key(public: str) -> str:
    """The public key of a box.

    Raises:
        ConfigError: It is none.
    """
    agree_with_box(public, b"")
    return public


def _derive(secret: bytes, ephemeral: bytes, about: bytes) -> bytes:
    info = b"edgewatch people 1 box\0" + about
    return HKDF(SHA256(), KEY_BYTES, ephemeral, info).derive(secret)


def _encode(prefix: str, key: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(key).decode().rstrip("=")


def _decode(prefix: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(prefix) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or not text.startswith(prefix) or _encode(prefix, key) != text:
        whose = {HUB: "public key of a hub", BOX: "public key of a box"}.get(prefix, "private key")
        shown = "this" if prefix.startswith("secret") else repr(text[:60])
        raise ConfigError(f"{shown} is no {whose}: it begins with {prefix} and has 43 more letters")
    return key


def _ensure(path: Path, prefix: str) -> bytes:
    try:
        if not path.exists():
            write_file(path, _encode(prefix, os.urandom(KEY_BYTES)) + "\n", sync=True, mode=0o600,
                       keep=True)  # fmt: skip
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"others can read the key: chmod 600 {path}", file=path)
        return _decode(prefix, read_input(path, 1024).decode("ascii").strip())
    except (ConfigError, UnicodeError) as error:
        problem = error.problem if isinstance(error, ConfigError) else "this is no key"
        raise ConfigError(problem, file=path) from error
    except OSError as error:
        remedy = choose_remedy(error, "write there", "check the folder")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
