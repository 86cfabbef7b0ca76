"""Encryption: the master key, the keys derived from it, and authenticated encryption.

::

    master key (a file or a systemd credential, never in the gallery)
    `-- HKDF, salted with the gallery's id
        |-- wrapping key   encrypts the key of each person (destroying that forgets the person)
        |-- settings key   encrypts what belongs to the whole gallery
        |-- name key       HMAC of names: finds a person without storing a name
        |-- audit key      HMAC chain of the audit log
        |-- seal key       HMAC of what the tables hold together
        `-- check value    reveals a wrong master key at once

"Sealed" means AES-256-GCM, nonce first, with the kind of the content as associated data.
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
from edge.people.gallery.names import fold_name
from edge.permissions import choose_remedy

KEY_BYTES = 32
NONCE_BYTES = 12
CREDENTIAL = "credential:"


class SealError(Exception):
    """Sealed content was changed, or the key is not the one it was sealed with."""


# --- the master key ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MasterKey:
    """32 secret bytes, left out of its repr."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes, got {len(self.secret)}")


def load_key(where: str) -> MasterKey:
    """Read a master key, 32 raw bytes or the same as base64, from a file or ``credential:NAME``.

    Only the owner may be able to read the file; systemd passes a credential to the service
    (``LoadCredential=``).

    Raises:
        GalleryError: The file is missing, readable by other users, or not a key.
    """
    path, may_read = Path(where).expanduser(), 0o077
    if where.startswith(CREDENTIAL):
        path, may_read = _credential(where.removeprefix(CREDENTIAL)), 0o007
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            content = file.read(1024)
    except OSError as error:
        create = f"create one with `edge keys new {path}`, or check the path"
        remedy = choose_remedy(error, "read it", create)
        raise GalleryError(
            f"the key file cannot be read ({error.strerror}): {remedy}", file=path
        ) from error
    if not stat.S_ISREG(state.st_mode):
        raise GalleryError("the key must be a regular file: name the file that holds it", file=path)
    if state.st_mode & may_read:
        mode = stat.S_IMODE(state.st_mode)
        raise GalleryError(
            f"the key file is accessible to other users (mode {mode:04o}): chmod 600 {path}",
            file=path,
        )
    return MasterKey(_decoded(content, path))


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise GalleryError(
            f"{CREDENTIAL}{name} exists only in a service for which systemd loads it: elsewhere "
            "name the file itself"
        )
    if not name or "/" in name or name.startswith("."):
        raise GalleryError(f"{name!r} is not a credential name: use one without slashes")
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
            f"the key file holds neither {KEY_BYTES} raw bytes nor their base64: restore the "
            "right file; a new key does not open an old gallery",
            file=path,
        )
    return secret


def create_key_file(path: Path) -> None:
    """Write a new random master key as base64, readable by its owner alone.

    Raises:
        GalleryError: The file exists, or the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GalleryError(
            "the file exists and is left alone, because a gallery without its key is lost: choose "
            "another path",
            file=path,
        ) from error
    except OSError as error:
        remedy = choose_remedy(error, "write there", "check the folder")
        raise GalleryError(
            f"the key cannot be written ({error.strerror}): {remedy}", file=path
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would pass for one whose gallery is lost
        raise GalleryError(
            f"the key cannot be written ({error.strerror}): check the disk", file=path
        ) from error


# --- encryption -----------------------------------------------------------------------------


def seal(key: bytes, content: bytes, about: bytes) -> bytes:
    """Encrypt with ``about`` as associated data; `unseal` needs the same key and ``about``."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Decrypt what `seal` gave.

    Raises:
        SealError: Another key, another ``about``, or any bit differs.
    """
    if len(sealed) <= NONCE_BYTES:
        raise SealError("the content is too short")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except InvalidTag as error:
        raise SealError("the content does not decrypt") from error


class KeyStore:
    """The keys of one gallery.

    Attributes:
        audit_key: The key of the audit log's HMACs.
        seal_key: The key of the gallery's seal.
        check_value: Stored in the gallery to recognize the master key.
    """

    def __init__(self, master: MasterKey, gallery_id: bytes) -> None:
        def derive(purpose: str) -> bytes:
            info = f"edgewatch gallery 1 {purpose}".encode()
            return HKDF(SHA256(), KEY_BYTES, gallery_id, info).derive(master.secret)

        self._wrapping = derive("wrap")
        self._settings = derive("settings")
        self._names = derive("names")
        self.audit_key = derive("audit")
        self.seal_key = derive("seal")
        self.check_value = derive("check")

    def create_person_key(self, person: str) -> tuple[bytes, bytes]:
        """A random key for one person, and the same key wrapped for storing."""
        key = os.urandom(KEY_BYTES)
        return key, seal(self._wrapping, key, b"person key\0" + person.encode())

    def unwrap_person_key(self, person: str, wrapped: bytes) -> bytes:
        """Unwrap the key of a person.

        Raises:
            SealError: It is damaged or belongs to another person.
        """
        return unseal(self._wrapping, wrapped, b"person key\0" + person.encode())

    def seal_setting(self, name: str, content: bytes) -> bytes:
        """Seal a setting of the whole gallery."""
        return seal(self._settings, content, b"setting\0" + name.encode())

    def unseal_setting(self, name: str, sealed: bytes) -> bytes:
        """Decrypt a setting.

        Raises:
            SealError: It is damaged.
        """
        return unseal(self._settings, sealed, b"setting\0" + name.encode())

    def compute_name_tag(self, name: str) -> bytes:
        """What is stored in place of a name; equal for names that differ only in case."""
        return hmac.digest(self._names, fold_name(name).encode(), hashlib.sha256)
