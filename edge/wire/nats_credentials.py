"""Credentials for NATS servers: a JWT with its key (.creds), or a key alone (.nk)."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import nkeys

from edge.errors import ConfigError
from edge.input_file import read_input
from edge.permissions import choose_remedy

_BASE32 = re.compile("[A-Z2-7]+")
MAX_BYTES = 1 << 16


def choose_options(path: str) -> dict[str, Any]:
    """The options of `nats.connect` for a file of credentials; none for an empty path.

    Raises:
        ConfigError: The file cannot be read, or is neither.
    """
    if not path:
        return {}
    seed = read_file(path)
    if seed.startswith("-----BEGIN"):
        return {"user_credentials": path}
    read_public_key(seed, path)
    return {"nkeys_seed_str": seed}


def make_seed() -> str:
    """A new key of a user (Ed25519), as NATS writes it."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def read_public_key(seed: str, path: str = "") -> str:
    """The public key that belongs to a seed.

    Raises:
        ConfigError: It is no seed of a user.
    """
    if not _is_whole(seed, "SU", 58):
        problem = "neither credentials (.creds) nor the seed of a user's key (.nk)"
        raise ConfigError(problem, file=Path(path) if path else None)
    public: bytes = nkeys.from_seed(bytearray(seed.encode())).public_key
    return public.decode()


def check_public_key(key: str) -> None:
    """Check the public key of a user, typing errors included.

    Raises:
        ConfigError: It is none.
    """
    if not _is_whole(key, "U", 56):
        raise ConfigError(f"{key!r} is no public key of a user: expected U and 55 characters")


def _is_whole(text: str, head: str, length: int) -> bool:
    """Whether a key is as long as it should be and agrees with the checksum at its end."""
    if not (text.startswith(head) and len(text) == length and _BASE32.fullmatch(text)):
        return False
    content = base64.b32decode(text + "=" * (-len(text) % 8))
    return bool(bytes(nkeys.crc16_checksum(content[:-2])) == content[-2:])


def read_file(path: str) -> str:
    """The text of a file of credentials.

    Its group may read it: a service that another user writes it for has no other way.

    Raises:
        ConfigError: It cannot be read, or holds a key that everybody on the machine can read.
    """
    try:
        text = read_input(Path(path), MAX_BYTES).decode("ascii").strip()
        mode = Path(path).stat().st_mode
    except UnicodeError as error:
        raise ConfigError("no credentials: binary data", file=Path(path)) from error
    except OSError as error:
        remedy = choose_remedy(error, "read it", "check the path")
        raise ConfigError(f"{error.strerror}: {remedy}", file=Path(path)) from error
    is_secret = text.startswith("-----BEGIN") or _is_whole(text, "SU", 58)
    if is_secret and mode & 0o007:
        raise ConfigError(f"everybody can read the key: chmod 640 {path}", file=Path(path))
    return text
