"""The users file: who may log in, with which role, and which tokens programs have.

It is TOML that only its owner may read: passwords as scrypt hashes, tokens as SHA-256 of what is
random anyway, and a key by which `edge open` proves that it may read the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edge.compat import tomllib
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.permissions import choose_remedy
from edge.web.schema import Role
from edge.written_file import write_for_service

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
MIN_PASSWORD = 8
MAX_PASSWORD = 1000
# OWASP's least for scrypt of 32 MiB, https://cheatsheetseries.owasp.org (Password Storage)
COST, BLOCK, PARALLEL = 2**15, 8, 3
MAX_MEMORY = 64 * 2**20
TOKEN_PREFIX = "edge_"  # noqa: S105 - by which a scanner of leaks knows it


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in.

    Attributes:
        password: ``scrypt:COST:BLOCK:PARALLEL:SALT:HASH``, the last two in base64.
    """

    role: Role
    password: str


@dataclass(frozen=True, slots=True)
class Token:
    """A program that may ask.

    Attributes:
        sha256: Of its token, in hex.
    """

    role: Role
    sha256: str


@dataclass(frozen=True, slots=True)
class Users:
    """What the file says.

    Attributes:
        key: By which one-time tokens are signed.
        users: By name.
        tokens: By the name of the program.
    """

    key: str = ""
    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def put_user(self, name: str, role: Role, password: str) -> Users:
        """With a user, whose former password and role it replaces.

        Raises:
            ConfigError: The name or the password cannot be used.
        """
        _check_name(name)
        user = User(role, hash_password(password))
        return replace(self, key=self.key or _make_key(), users=self.users | {name: user})

    def put_token(self, name: str, role: Role) -> tuple[Users, str]:
        """With a token for a program, and the token itself, which is nowhere stored.

        Raises:
            ConfigError: The name cannot be used.
        """
        _check_name(name)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        token = Token(role, _digest(secret))
        changed = replace(self, key=self.key or _make_key(), tokens=self.tokens | {name: token})
        return changed, secret

    def remove(self, name: str) -> Users:
        """Without the user and the token of that name.

        Raises:
            ConfigError: There is neither.
        """
        if name not in self.users and name not in self.tokens:
            raise ConfigError(f"there is no user or token {name!r}")
        users = {each: user for each, user in self.users.items() if each != name}
        tokens = {each: token for each, token in self.tokens.items() if each != name}
        return replace(self, users=users, tokens=tokens)

    def find_token(self, secret: str) -> tuple[str, Role] | None:
        """The name and role of the program with that token."""
        digest = _digest(secret)
        found = None
        for name, token in self.tokens.items():
            if hmac.compare_digest(token.sha256, digest):
                found = name, token.role
        return found


def read_users(path: Path) -> Users:
    """Read a users file.

    Raises:
        ConfigError: It cannot be read, others may read it, or it is no users file.
    """
    try:
        content = read_input(path, MAX_BYTES)
        mode = path.stat().st_mode
    except OSError as error:
        remedy = choose_remedy(error, "read it", "make it with edge users add")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    if mode & 0o077:
        raise ConfigError(f"others may read the passwords: chmod 600 {path}", file=path)
    try:
        users = msgspec.convert(tomllib.loads(content.decode()), Users)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        problem = f"is no users file ({error}): write it with edge users"
        raise ConfigError(problem, file=path) from error
    for name, user in users.users.items():
        if _parse_hash(user.password) is None:
            raise ConfigError(f"user {name!r} has no password: edge users password", file=path)
    return users


def write_users(path: Path, users: Users) -> None:
    """Write a users file, readable by its owner only; a reader sees the old one or the new one.

    Raises:
        ConfigError: It cannot be written.
    """
    lines = ["# Written by edge users.", f'key = "{users.key}"']
    for name, user in sorted(users.users.items()):
        lines += ["", f'[users."{name}"]', f'role = "{user.role}"', f'password = "{user.password}"']
    for name, token in sorted(users.tokens.items()):
        lines += ["", f'[tokens."{name}"]', f'role = "{token.role}"', f'sha256 = "{token.sha256}"']
    write_for_service(path, lines, 0o600)


# --- passwords --------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Hash a password, as the file keeps it.

    Raises:
        ConfigError: It is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConfigError(f"a password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, COST, BLOCK, PARALLEL)
    return ":".join(
        ["scrypt", str(COST), str(BLOCK), str(PARALLEL), _encode(salt), _encode(digest)]
    )


def verify_password(password: str, stored: str) -> bool:
    """Whether a password is the one of a stored hash; takes as long for an empty one."""
    parsed = _parse_hash(stored)
    cost, block, parallel, salt, wanted = parsed or (COST, BLOCK, PARALLEL, bytes(16), b"")
    digest = _scrypt(password[:MAX_PASSWORD], salt, cost, block, parallel)
    return hmac.compare_digest(digest, wanted) and parsed is not None


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=block, p=parallel,
        maxmem=MAX_MEMORY, dklen=32,
    )  # fmt: skip


def _parse_hash(stored: str) -> tuple[int, int, int, bytes, bytes] | None:
    """Cost, block, parallel, salt and hash; None for what is none or would take too much."""
    kind, *rest = stored.split(":")
    if kind != "scrypt" or len(rest) != 5 or not all(part.isdecimal() for part in rest[:3]):
        return None
    cost, block, parallel = map(int, rest[:3])
    if cost < 2 or cost & (cost - 1) or block < 1 or not 1 <= parallel <= 16:
        return None
    if 128 * cost * block > MAX_MEMORY // 2 + 2**20:
        return None
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in rest[3:])
    except binascii.Error:
        return None
    return (cost, block, parallel, salt, digest) if len(digest) == 32 else None


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _make_key() -> str:
    return secrets.token_urlsafe(32)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} must be 1 to 64 letters, digits or any of . _ @ -")


class UsersFile:
    """A users file that is read again when it changed.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._users = read_users(path)
        self._stamp = self._read_stamp()

    def read(self) -> Users:
        """What the file says now: nobody if it is gone, what it said before if it is damaged."""
        stamp = self._read_stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._users = read_users(self._path) if stamp else Users()
            except ConfigError as error:
                log.warning("the users file cannot be used, the former one holds: %s", error)
        return self._users

    def _read_stamp(self) -> Any:  # noqa: ANN401 - compared only
        try:
            about = self._path.stat()
        except OSError:
            return None
        return about.st_mtime_ns, about.st_ino, about.st_size
