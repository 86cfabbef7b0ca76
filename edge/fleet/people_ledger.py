"""The ledger of a hub's gallery: which boxes it trusts, what they were told, what they still owe.

It lies beside the gallery, and not on the server that everything goes through.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.atomic_file import write_file
from edge.errors import ConfigError
from edge.fleet.records import UNREADABLE
from edge.input_file import read_input
from edge.permissions import choose_remedy

MAX_BYTES = 256 << 20


class Withdrawal(msgspec.Struct, frozen=True):
    """That a box has to forget a person.

    Attributes:
        number: Of the manifest that says so.
        at_s: Since when, Unix time.
    """

    number: int
    at_s: float


class TrustedBox(msgspec.Struct):
    """A box that people are sent to.

    Attributes:
        key: Its public key.
        number: Of its manifest; 0 before the first.
        content: Digest of what that means.
        message: SHA-256 of it, as it was put on the server.
        people: Ids of those in it.
        until_s: When the last lease ends, Unix time.
        withdrawn: What it has not confirmed to have forgotten, by id.
    """

    key: str
    number: int = 0
    content: str = ""
    message: str = ""
    people: list[str] = []
    until_s: float = 0.0
    withdrawn: dict[str, Withdrawal] = {}


class Ledger(msgspec.Struct):
    """What is known of the boxes.

    Attributes:
        boxes: By name.
        records: Digests of the records that are on the server, by id.
        new_embedder: SHA-256 of the embedder to which galleries change over.
        lease_s: How long boxes may name without hearing of the hub.
        serial: Of the leases that were given last.
        untrusted: Boxes at which somebody's consent holds, and that are not among ``boxes``.
    """

    boxes: dict[str, TrustedBox] = {}
    records: dict[str, str] = {}
    new_embedder: str = ""
    lease_s: float = 7 * 86400.0
    serial: int = 0
    untrusted: list[str] = []


class LedgerFile:
    """The file, which one at a time changes.

    Attributes:
        written_ns: When `changing` wrote it last here; differs once somebody else has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written_ns = 0

    @classmethod
    def beside(cls, gallery: Path) -> LedgerFile:
        """That of a hub's gallery."""
        return cls(gallery.with_name(f"{gallery.name}.fleet"))

    def read(self) -> Ledger:
        """What is in it; nothing if it is not there.

        Raises:
            ConfigError: It cannot be read.
        """
        try:
            return msgspec.json.decode(read_input(self.path, MAX_BYTES), type=Ledger)
        except FileNotFoundError:
            return Ledger()
        except OSError as error:
            remedy = choose_remedy(error, "read it", "check path and permissions")
            raise ConfigError(f"{error.strerror}: {remedy}", file=self.path) from error
        except UNREADABLE as error:
            problem = "the hub's ledger is damaged: restore it, or remove it and trust boxes again"
            raise ConfigError(problem, file=self.path) from error

    def write(self, ledger: Ledger) -> None:
        """Write it, for its owner alone.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            write_file(self.path, msgspec.json.encode(ledger), sync=True, mode=0o600)
        except OSError as error:
            remedy = choose_remedy(error, "write there", "check the folder")
            raise ConfigError(f"{error.strerror}: {remedy}", file=self.path) from error

    @contextlib.contextmanager
    def changing(self) -> Iterator[Ledger]:
        """What is in it, for a change that nobody else makes meanwhile; written at the end.

        Raises:
            ConfigError: It cannot be read or written.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            remedy = choose_remedy(error, "write there", "check the folder")
            raise ConfigError(f"{error.strerror}: {remedy}", file=lock) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            ledger = self.read()
            yield ledger
            self.write(ledger)
            self.written_ns = self.path.stat().st_mtime_ns
        finally:
            os.close(descriptor)
