"""Gallery metadata: identity, embedder, generation and calibration."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edge.errors import GalleryError
from edge.people.gallery.encryption import KeyStore, SealError
from edge.people.gallery.membership import Membership
from edge.ports import Embedder

T = TypeVar("T")

FORMAT = 1
TABLES = "CREATE TABLE setting (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"


@dataclass(frozen=True, slots=True)
class EmbedderId:
    """The model that templates come from; ``dimension`` is D, the length of an embedding."""

    name: str
    sha256: str
    dimension: int


def get_embedder_id(embedder: Embedder) -> EmbedderId:
    """What a gallery stores of an embedder."""
    return EmbedderId(embedder.name, embedder.sha256, embedder.dimension)


class Metadata:
    """Reads and writes the table of settings inside the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def initialize(self, gallery_id: bytes, check_value: bytes, embedder: EmbedderId) -> None:
        """Write the settings of a new gallery."""
        self._set("format", FORMAT)
        self._set("id", gallery_id)
        self._set("check", check_value)
        self._set("generation", 0)
        self.set_embedder(embedder)

    def identity(self) -> tuple[bytes, bytes]:
        """The gallery's id, and the check value of its key.

        Raises:
            GalleryError: The file was written by a newer Edgewatch.
        """
        if self._read("format", int) != FORMAT:
            raise GalleryError("the gallery has an unknown format: update Edgewatch")
        return self._read("id", bytes), self._read("check", bytes)

    def generation(self) -> int:
        """The number of changes so far."""
        return self._read("generation", int)

    def advance(self) -> int:
        """Begin a new generation and return its number."""
        self._set("generation", self.generation() + 1)
        return self.generation()

    def embedder(self) -> EmbedderId:
        """The model the gallery belongs to."""
        return self._read("embedder", lambda text: EmbedderId(*json.loads(text)))

    def set_embedder(self, embedder: EmbedderId) -> None:
        """Make the gallery belong to another model; the old model's calibration is deleted."""
        row = [embedder.name, embedder.sha256, embedder.dimension]
        self._set("embedder", json.dumps(row))
        self._connection.execute("DELETE FROM setting WHERE name = 'calibration'")

    def calibration(self, keys: KeyStore) -> dict[str, float] | None:
        """Measured thresholds of this embedder, or None.

        Raises:
            GalleryError: They were tampered with.
        """
        sealed = self._get("calibration")
        if sealed is None:
            return None
        try:
            content = keys.unseal_setting(self._calibration_name(), sealed)
        except (SealError, TypeError) as error:
            raise GalleryError(
                "the calibration in the gallery is damaged: run `edge people calibrate` again"
            ) from error
        values: dict[str, float] = json.loads(content)
        return values

    def set_calibration(self, keys: KeyStore, values: Mapping[str, float]) -> None:
        """Encrypt and store measured thresholds of this embedder."""
        content = json.dumps(dict(values)).encode()
        self._set("calibration", keys.seal_setting(self._calibration_name(), content))

    def membership(self, keys: KeyStore) -> Membership | None:
        """The hub that the gallery follows, or None.

        Raises:
            GalleryError: It was tampered with.
        """
        content = self._get_sealed(keys, "hub")
        return None if content is None else Membership.parse(content)

    def set_membership(self, keys: KeyStore, membership: Membership) -> None:
        """Encrypt and store what the gallery follows."""
        self._set("hub", keys.seal_setting("hub", membership.encode()))

    def copied(self, keys: KeyStore) -> dict[str, str]:
        """Digests of what the hub sent, by the ids of people.

        Raises:
            GalleryError: They were tampered with.
        """
        digests: dict[str, str] = json.loads(self._get_sealed(keys, "hub people") or b"{}")
        return digests

    def set_copied(self, keys: KeyStore, digests: Mapping[str, str]) -> None:
        """Encrypt and store digests of what the hub sent, by the ids of people."""
        content = json.dumps(dict(digests)).encode()
        self._set("hub people", keys.seal_setting("hub people", content))

    def _get_sealed(self, keys: KeyStore, name: str) -> bytes | None:
        sealed = self._get(name)
        try:
            return None if sealed is None else keys.unseal_setting(name, sealed)
        except (SealError, TypeError) as error:
            raise GalleryError(
                "what the gallery knows of its hub is damaged: restore it from a backup"
            ) from error

    def _calibration_name(self) -> str:
        return f"calibration {self.embedder().sha256}"

    def _read(self, name: str, convert: Callable[[Any], T]) -> T:
        try:
            return convert(self._get(name))
        except (TypeError, ValueError) as error:
            raise GalleryError(
                f"the gallery's {name} is damaged: restore it from a backup"
            ) from error

    def _get(self, name: str) -> Any:  # noqa: ANN401 - a column of SQLite
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,))
        return (row.fetchone() or (None,))[0]

    def _set(self, name: str, value: object) -> None:
        self._connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))
