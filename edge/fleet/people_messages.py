"""What a hub tells its boxes of people, sealed and signed.

::

    person.ID  one person, sealed with a key of that person and that version alone
    box.BOX    signed: the version of each person in scope and the key of it, sealed for the box
    lease.BOX  signed: until when the box may name them

All is MessagePack, arrays in place of maps. What is signed names its kind, the box and the hub's
gallery, and has a number that grows.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.errors import EdgeError
from edge.fleet.people_keys import BoxKey, HubKey, agree_with_box, verify
from edge.fleet.records import UNREADABLE
from edge.people.gallery.encryption import NONCE_BYTES, SealError, seal, unseal
from edge.people.gallery.hub_copy import CopiedPerson
from edge.people.gallery.metadata import EmbedderId
from edge.people.gallery.records import PersonDetails, Record
from edge.types import F32

MAX_BYTES: Final = 8 << 20  # of a message that a box takes
T = TypeVar("T", bound=msgspec.Struct)


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """Something with the hub's signature."""

    content: bytes
    signature: bytes


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """Who is to be known at a box.

    Attributes:
        box: Its name.
        gallery: Id of the hub's gallery.
        number: It grows with each change.
        ephemeral: From which the box gets the key of ``sealed``.
        sealed: A `ManifestBody`.
    """

    box: str
    gallery: str
    number: int
    ephemeral: bytes
    sealed: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A person in a manifest.

    Attributes:
        id: Opaque, 16 bytes.
        digest: SHA-256 of the sealed record.
        key: What it is sealed with.
    """

    id: bytes
    digest: bytes
    key: bytes


class ManifestBody(msgspec.Struct, frozen=True, array_like=True):
    """What only the box can read.

    Attributes:
        embedder: Name, SHA-256 and dimension of the model that templates come from.
        calibration: Measured thresholds; empty if there are none.
        change_embedder: Whether a gallery of another embedder changes over.
        receipt_key: With which the box proves that it has this.
        people: Everybody in its scope.
    """

    embedder: tuple[str, str, int]
    calibration: dict[str, float]
    change_embedder: bool
    receipt_key: bytes
    people: list[Entry]


class SignedLease(msgspec.Struct, frozen=True, array_like=True):
    """Until when a box may name people.

    Attributes:
        number: Of the manifest that it has to have for that.
        issued_s: Unix seconds.
        until_s: Unix seconds.
        serial: It grows with each lease, also where the hub's clock is set back.
    """

    box: str
    gallery: str
    number: int
    issued_s: float
    until_s: float
    serial: int = 0


class PersonRecord(msgspec.Struct, frozen=True, array_like=True):
    """One person.

    Attributes:
        own: Templates, little-endian float32.
        negatives: Negative templates, in the same form.
    """

    name: str
    enrolled_s: float
    consent_s: float
    until: str
    own: bytes
    negatives: bytes


@dataclass(frozen=True, slots=True)
class SealedPerson:
    """A person, ready to be sent.

    Attributes:
        id: Hexadecimal digits.
        entry: For manifests.
        content: The sealed record.
    """

    id: str
    entry: Entry
    content: bytes


# --- signatures ---------------------------------------------------------------------------------


def sign(key: HubKey, message: Manifest | SignedLease) -> bytes:
    """Something signed, as bytes."""
    content = msgspec.msgpack.encode(message)
    signature = key.sign(_name_kind(type(message)) + content)
    return msgspec.msgpack.encode(Signed(content, signature))


def open_signed(hub: str, value: bytes, kind: type[T]) -> T:
    """What the hub with this public key signed.

    Raises:
        EdgeError: It did not, or that cannot be read.
    """
    if len(value) > MAX_BYTES:
        raise EdgeError("what the hub's server has for this box is too large")
    try:
        signed = msgspec.msgpack.decode(value, type=Signed)
        if not verify(hub, signed.signature, _name_kind(kind) + signed.content):
            raise EdgeError(
                "what the hub's server has for this box is not signed by the hub it trusts: if "
                "the hub has a new key, edge fleet join with --hub-key again"
            )
        return msgspec.msgpack.decode(signed.content, type=kind)
    except UNREADABLE as error:
        raise EdgeError("what the hub's server has for this box cannot be read") from error


def _name_kind(kind: type[msgspec.Struct]) -> bytes:
    return f"edgewatch people 1 {kind.__name__}\0".encode()


# --- manifests ----------------------------------------------------------------------------------


def seal_manifest(public: str, box: str, gallery: str, number: int, body: ManifestBody) -> Manifest:
    """A manifest that only the box with this public key can read."""
    about = _describe_manifest(box, gallery, number)
    key, ephemeral = agree_with_box(public, about)
    return Manifest(box, gallery, number, ephemeral, seal(key, msgspec.msgpack.encode(body), about))


def open_manifest(key: BoxKey, manifest: Manifest) -> ManifestBody:
    """What a manifest says.

    Raises:
        EdgeError: It is for another key, or cannot be read.
    """
    about = _describe_manifest(manifest.box, manifest.gallery, manifest.number)
    try:
        content = unseal(key.agree(manifest.ephemeral, about), manifest.sealed, about)
        return msgspec.msgpack.decode(content, type=ManifestBody)
    except SealError as error:
        raise EdgeError(
            "the hub sends for another key than that of this box: edge hub trust it again, with "
            "the key that edge fleet join prints here"
        ) from error
    except UNREADABLE as error:
        raise EdgeError("the hub sends what this version cannot read: update Edgewatch") from error


def _describe_manifest(box: str, gallery: str, number: int) -> bytes:
    return f"manifest\0{box}\0{gallery}\0{number}".encode()


# --- people -------------------------------------------------------------------------------------


def seal_person(gallery: str, record: Record, embedder: str, key: bytes) -> SealedPerson:
    """A person, ready to be sent; the same again for the same record and key.

    The nonce is a keyed hash of the content, so that one key never seals two contents with one
    nonce, even where a backup of the hub's gallery was put back.
    """
    person = record.person
    details = person.details
    content = msgspec.msgpack.encode(
        PersonRecord(
            details.name, details.enrolled_s, details.consent_s, details.until,
            record.own.astype("<f4").tobytes(), record.negatives.astype("<f4").tobytes(),
        )
    )  # fmt: skip
    nonce = hmac.digest(key, b"nonce" + content, hashlib.sha256)[:NONCE_BYTES]
    sealed = nonce + AESGCM(key).encrypt(nonce, content, _describe(gallery, person.id, embedder))
    entry = Entry(bytes.fromhex(person.id), hashlib.sha256(sealed).digest(), key)
    return SealedPerson(person.id, entry, sealed)


def open_person(gallery: str, entry: Entry, embedder: EmbedderId, content: bytes) -> CopiedPerson:
    """The person whom an entry of a manifest means.

    Raises:
        EdgeError: This is another record, or cannot be read.
    """
    person = entry.id.hex()
    if len(content) > MAX_BYTES:
        raise EdgeError(f"the hub's server has a record of {person} that is too large")
    if hashlib.sha256(content).digest() != entry.digest:
        raise EdgeError(f"the hub's server has another record of {person} than the hub sent")
    try:
        about = _describe(gallery, person, embedder.sha256)
        if len(content) <= NONCE_BYTES:
            raise EdgeError(f"the hub's record of {person} is empty")
        plain = AESGCM(entry.key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], about)
        record = msgspec.msgpack.decode(plain, type=PersonRecord)
        own, negatives = (
            np.frombuffer(rows, "<f4").astype(np.float32).reshape(-1, embedder.dimension)
            for rows in (record.own, record.negatives)
        )
    except (InvalidTag, ValueError, *UNREADABLE) as error:
        raise EdgeError(f"the hub's record of {person} cannot be read") from error
    return _make_person(entry, record, own, negatives)


def _make_person(entry: Entry, record: PersonRecord, own: F32, negatives: F32) -> CopiedPerson:
    details = PersonDetails(
        record.name, record.enrolled_s, record.consent_s, record.until, len(own), len(negatives)
    )
    return CopiedPerson(entry.id.hex(), entry.digest.hex(), details, own, negatives)


def _describe(gallery: str, person: str, embedder: str) -> bytes:
    return f"person\0{gallery}\0{person}\0{embedder}".encode()


# --- receipts -----------------------------------------------------------------------------------


def make_receipt(key: bytes, box: str, number: int, problem: str) -> str:
    """What proves that a box has what the hub told it."""
    return hmac.digest(key, f"{box}\0{number}\0{problem}".encode(), hashlib.sha256).hex()


def digest_body(body: ManifestBody) -> str:
    """Equal for bodies that mean the same, whatever their receipts."""
    plain = msgspec.structs.replace(body, receipt_key=b"")
    return hashlib.sha256(msgspec.msgpack.encode(plain)).hexdigest()


def list_ids(entries: Sequence[Entry]) -> list[str]:
    """Ids of people, as galleries have them."""
    return [entry.id.hex() for entry in entries]
