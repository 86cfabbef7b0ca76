"""The vault: keys, and what is sealed with them.

::

    master key (a file or a systemd credential, never in the gallery)
    `-- HKDF, salted with the gallery's id
        |-- wrapping key   seals the key of each person (destroying that is forgetting)
        |-- settings key   seals what belongs to the whole gallery
        |-- name key       HMAC of names: finds a person without storing a name
        |-- audit key      HMAC chain of the audit log
        `-- check value    tells a wrong master key at once

Sealed is AES-256-GCM, nonce first; every seal is bound to what it is about.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.errors import GalleryError
from edge.people.gallery.names import folded

KEY_BYTES = 32
NONCE_BYTES = 12
CREDENTIAL = "credential:"


class SealError(Exception):
    """What was sealed is not what is there now, or the key is another one."""


# --- the master key ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MasterKey:
    """32 secret bytes; never shown."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes, got {len(self.secret)}")


def load_key(where: str) -> MasterKey:
    """Read a master key: 32 raw bytes, or the same as base64.

    Args:
        where: a file that only its owner can read, or ``credential:NAME`` for a credential that
            systemd hands to the service (``LoadCredential=``).

    Raises:
        GalleryError: there is none, others may read it, or it is no key.
    """
    path, may_read = Path(where).expanduser(), 0o077
    if where.startswith(CREDENTIAL):
        path, may_read = _credential(where.removeprefix(CREDENTIAL)), 0o007
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            content = file.read(1024)
    except OSError as error:
        remedy = f"make one with `edge keys new {path}`, or check the path"
        raise GalleryError(f"key {path}: {error.strerror}: {remedy}") from error
    if not stat.S_ISREG(state.st_mode):
        raise GalleryError(f"key {path} is no regular file: name the file that holds the key")
    if state.st_mode & may_read:
        mode = stat.S_IMODE(state.st_mode)
        raise GalleryError(f"key {path} is open to others (mode {mode:04o}): chmod 600 {path}")
    return MasterKey(_decoded(content, path))


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise GalleryError(
            f"{CREDENTIAL}{name} is there only in a service that systemd started with "
            f"LoadCredential={name}:FILE: name the file itself here"
        )
    if not name or "/" in name or name.startswith("."):
        raise GalleryError(f"{name!r} is no name of a credential: use one without slashes")
    return Path(folder) / name


def _decoded(content: bytes, path: Path) -> bytes:
    if len(content) == KEY_BYTES:
        return content
    try:
        secret = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise GalleryError(
            f"key {path} holds neither {KEY_BYTES} raw bytes nor their base64: "
            "restore the right file; a new key opens no old gallery"
        )
    return secret


def new_key_file(path: Path) -> None:
    """Write a new random master key as base64, readable by its owner alone.

    Raises:
        GalleryError: something is there already, or the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GalleryError(
            f"{path} exists and is left alone: a gallery without its key is lost; choose another"
        ) from error
    except OSError as error:
        raise GalleryError(f"{path}: {error.strerror}: check the folder") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


# --- what is sealed with it -------------------------------------------------------------------


def seal(key: bytes, content: bytes, about: bytes) -> bytes:
    """Encrypt and bind to ``about``; opening needs the same key and the same ``about``."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """What was sealed.

    Raises:
        SealError: another key, another ``about``, or any bit differs.
    """
    if len(sealed) <= NONCE_BYTES:
        raise SealError("too short")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except InvalidTag as error:
        raise SealError("does not open") from error


class Vault:
    """The keys of one gallery.

    Args:
        master: the master key.
        gallery_id: random bytes, stored in the gallery.
    """

    def __init__(self, master: MasterKey, gallery_id: bytes) -> None:
        def derive(purpose: str) -> bytes:
            info = f"edgewatch gallery 1 {purpose}".encode()
            return HKDF(SHA256(), KEY_BYTES, gallery_id, info).derive(master.secret)

        self._wrapping = derive("wrap")
        self._settings = derive("settings")
        self._names = derive("names")
        self.audit_key = derive("audit")
        self.check_value = derive("check")

    def new_person_key(self, person: str) -> tuple[bytes, bytes]:
        """A random key for one person, and the same wrapped for the gallery."""
        key = os.urandom(KEY_BYTES)
        return key, seal(self._wrapping, key, b"person key\0" + person.encode())

    def person_key(self, person: str, wrapped: bytes) -> bytes:
        """Unwrap the key of a person.

        Raises:
            SealError: it is damaged or belongs to somebody else.
        """
        return unseal(self._wrapping, wrapped, b"person key\0" + person.encode())

    def seal_setting(self, name: str, content: bytes) -> bytes:
        """Seal a setting of the whole gallery."""
        return seal(self._settings, content, b"setting\0" + name.encode())

    def unseal_setting(self, name: str, sealed: bytes) -> bytes:
        """Open a setting.

        Raises:
            SealError: it is damaged.
        """
        return unseal(self._settings, sealed, b"setting\0" + name.encode())

    def name_tag(self, name: str) -> bytes:
        """What stands for a name in the gallery; equal for names that differ only in case."""
        return hmac.digest(self._names, folded(name).encode(), hashlib.sha256)
