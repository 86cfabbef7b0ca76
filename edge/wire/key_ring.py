"""The key ring of a publisher: its own secret, and whose keys may subscribe.

The clients file is TOML: names and public keys. It is read again when it changes, so a key that is
authorized or revoked counts at once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from edge.compat import tomllib
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.permissions import choose_remedy
from edge.repeated_warning import RepeatedWarnings
from edge.wire.key_pair import KeyPair, decode_key
from edge.written_file import write_for_service

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
MAX_BYTES: Final = 1 << 20
REFRESH_S: Final = 0.25
OWN: Final = "the node itself"  # no client can have this name


class _ClientsFile(msgspec.Struct, forbid_unknown_fields=True):
    clients: dict[str, str] = {}


def read_clients(path: Path) -> dict[str, str]:
    """Public keys in Z85, by name.

    Raises:
        ConfigError: It cannot be read, or is no clients file.
    """
    try:
        content = read_input(path, MAX_BYTES)
    except OSError as error:
        remedy = choose_remedy(error, "read it", "make it with edge keys authorize")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    try:
        clients = msgspec.convert(tomllib.loads(content.decode()), _ClientsFile).clients
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        problem = f"is no clients file ({error}): write it with edge keys authorize"
        raise ConfigError(problem, file=path) from error
    for name, key in clients.items():
        check_name(name)
        decode_key(key)
    return clients


def write_clients(path: Path, clients: Mapping[str, str]) -> None:
    """Write a clients file; a reader sees the old one or the new one.

    Raises:
        ConfigError: It cannot be written.
    """
    lines = ["# Written by edge keys: who may subscribe.", "[clients]"]
    lines += [f'"{name}" = "{key}"' for name, key in sorted(clients.items())]
    write_for_service(path, lines, 0o640)


def check_name(name: str) -> None:
    """Check a client's name.

    Raises:
        ConfigError: It is none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} must be 1 to 64 letters, digits or any of . _ @ -")


class KeyRing:
    """The server's secret key, and the clients of a file.

    Args:
        path: The clients file.

    Attributes:
        server: The server's pair.
        own: A client pair for the process's own subscriber, known to nobody else.
    """

    def __init__(self, server: KeyPair, path: Path) -> None:
        """Read the clients.

        Raises:
            ConfigError: They cannot be read.
        """
        self.server = server
        self.own = KeyPair.generate()
        self.secret = decode_key(server.secret)
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._refresh_s = float("-inf")
        self._warnings = RepeatedWarnings(log)
        self._names: dict[bytes, str] = {}
        self._read()

    def authorize(self, key: bytes) -> str | None:
        """The name of the client with a public key of 32 bytes, None for a stranger."""
        return self._names.get(key)

    def refresh(self, now_s: float) -> None:
        """Read the clients again if their file changed; one that is broken changes nothing."""
        if now_s < self._refresh_s:
            return
        self._refresh_s = now_s + REFRESH_S
        try:
            if self._look() != self._seen:
                self._read()
        except (ConfigError, OSError) as error:
            problem = f"{error}: those who were authorized last stay so"
            self._warnings.tell(f"clients file {self._path}", problem)

    def _look(self) -> tuple[int, ...]:
        about = self._path.stat()
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _read(self) -> None:
        seen = self._look() if self._path.exists() else ()
        clients = read_clients(self._path)
        self._names = {decode_key(key): name for name, key in clients.items()}
        self._names[decode_key(self.own.public)] = OWN
        self._seen = seen
