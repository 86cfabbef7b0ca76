"""The floor of a box: what it took from its hub last, and where it put people.

It lies beside the box's key for people, apart from galleries, which may be deleted or moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from edge.atomic_file import write_file
from edge.errors import EdgeError
from edge.fleet.records import UNREADABLE
from edge.input_file import read_input

_MAX_BYTES: Final = 1 << 16


class Place(msgspec.Struct, frozen=True):
    """A gallery that the hub's people were put in.

    Attributes:
        gallery: Its file, absolute.
        key: Where its master key is: a file, or credential:NAME.
    """

    gallery: str
    key: str


class Floor(msgspec.Struct, frozen=True):
    """What was taken.

    Attributes:
        hub: Public key of the hub that it came from.
        number: Nothing lower is taken.
        places: Every gallery that may hold people of the hub.
    """

    hub: str = ""
    number: int = 0
    places: tuple[Place, ...] = ()


class FloorFile:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Floor:
        """What is in it; nothing if it is not there.

        Raises:
            EdgeError: It cannot be read.
        """
        try:
            return msgspec.json.decode(read_input(self.path, _MAX_BYTES), type=Floor)
        except FileNotFoundError:
            return Floor()
        except (OSError, *UNREADABLE) as error:
            raise EdgeError(
                f"it cannot be read ({error}): without it older lists of people and galleries "
                "that were moved away go unnoticed, so remove it only if you trust the hub's "
                "server",
                file=self.path,
            ) from error

    def write(self, floor: Floor) -> None:
        """Write it, for its owner alone.

        Raises:
            EdgeError: It cannot be written.
        """
        try:
            write_file(self.path, msgspec.json.encode(floor), sync=True, mode=0o600)
        except OSError as error:
            raise EdgeError(f"it cannot be written: {error.strerror}", file=self.path) from error
