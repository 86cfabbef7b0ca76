"""Models of a fleet: sent once, under their hashes, and named by configurations as ``hub:FILE``.

The hub writes `models/HASH-FILE` in their place, relative to the configuration. So a box may hold
several versions of a file, and going back to a configuration goes back to its models as well.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import ObjectStoreConfig
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from edge.atomic_file import replace_file
from edge.config_file import Tree
from edge.errors import ConfigError, EdgeError
from edge.fleet.records import UNREADABLE

BUCKET: Final = "EDGE_MODELS"
PREFIX: Final = "hub:"
FOLDER: Final = "models"
FETCH_S: Final = 600.0
TIMEOUT_S: Final = 5.0
_STREAM: Final = f"OBJ_{BUCKET}"
KEPT: Final = re.compile(r"[0-9a-f]{64}-[A-Za-z0-9._-]{1,100}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_BUFFER: Final = 1 << 20


def bind(tree: Tree, text: str, folder: Path) -> tuple[str, dict[str, Path]]:
    """A configuration with its models by their hashes.

    Args:
        tree: Its tree.
        text: Its text.
        folder: Where the files are that it names as ``hub:FILE``.

    Returns:
        The text as boxes get it, and the files by the names that it uses.

    Raises:
        ConfigError: A file cannot be read.
    """
    files: dict[str, Path] = {}
    for reference in sorted(set(_list_references(tree))):
        name = reference.removeprefix(PREFIX)
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{reference!r} names no file: use {PREFIX}FILE.onnx")
        path = folder / name
        try:
            kept = f"{_hash(path)}-{name}"
        except OSError as error:
            raise ConfigError(
                f"{error.strerror}: {reference} is looked for here", file=path
            ) from error
        quoted = re.compile(rf"""(["']){re.escape(reference)}\1""")
        text = quoted.sub(f'"{FOLDER}/{kept}"', text)
        files[kept] = path
    return text, files


class ModelStore:
    """The models on a server, over a connection of the hub."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    @classmethod
    async def open(cls, client: Client) -> ModelStore:
        """The bucket of a server, which is made if it is not there."""
        stream = client.jetstream(timeout=TIMEOUT_S)
        with contextlib.suppress(NotFoundError):
            return cls(await stream.object_store(BUCKET))
        config = ObjectStoreConfig(bucket=BUCKET)
        return cls(await stream.create_object_store(BUCKET, config))

    async def send(self, files: Mapping[str, Path]) -> None:
        """Store files that are not there yet."""
        for kept, path in files.items():
            try:
                await self._objects.get_info(kept)
            except NotFoundError:
                with path.open("rb") as content:
                    await self._objects.put(kept, content)


class ModelReader:
    """The models on a server, over a connection of a box: it asks for them piece by piece."""

    def __init__(self, client: Client) -> None:
        self._stream = client.jetstream(timeout=TIMEOUT_S)

    async def fetch(self, kept: str, folder: Path) -> None:
        """Have a file in a folder, whole.

        Raises:
            EdgeError: The server has no such file, or another under its name.
        """
        target = folder / kept
        if await asyncio.to_thread(_is_whole, target):
            return
        try:
            await asyncio.to_thread(folder.mkdir, exist_ok=True)
            with replace_file(target, sync=True, mode=0o644) as part:
                with part.open("wb") as content:
                    await asyncio.wait_for(self._read(kept, content), FETCH_S)
                if await asyncio.to_thread(_hash, part) != kept[:64]:
                    raise EdgeError(f"the hub sends another file than {kept}")
        except NotFoundError:
            raise EdgeError(f"the hub has no file {kept}: apply the configuration again") from None
        except NoRespondersError:
            raise EdgeError(f"the server has no bucket {BUCKET}") from None

    async def _read(self, kept: str, content: BinaryIO) -> None:
        """The pieces of an object, in their order.

        Raises:
            EdgeError: The server has something else.
        """
        name = base64.urlsafe_b64encode(kept.encode()).decode()
        subject = f"$O.{BUCKET}.M.{name}"
        about = await self._stream.get_msg(_STREAM, subject=subject, direct=True)
        try:
            info = msgspec.json.decode(about.data or b"", type=_ObjectInfo)
        except UNREADABLE as error:
            raise EdgeError(f"what the hub says of {kept} cannot be read") from error
        pieces, left, number = f"$O.{BUCKET}.C.{info.nuid}", info.size, 1
        while left > 0:
            piece = await self._stream.get_msg(_STREAM, number, pieces, direct=True, next=True)
            data = piece.data or b""
            if not data or len(data) > left:
                raise EdgeError(f"the hub sends another file than {kept}")
            await asyncio.to_thread(content.write, data)
            left, number = left - len(data), (piece.seq or 0) + 1


class _ObjectInfo(msgspec.Struct, frozen=True):
    """What NATS says of an object in a store (its ADR-20)."""

    nuid: str
    size: int


def remove_others(folder: Path, kept: set[str]) -> None:
    """Delete the models that no configuration names any more."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if KEPT.fullmatch(path.name) and path.name not in kept:
            path.unlink(missing_ok=True)


def list_kept(text: str) -> set[str]:
    """The files that a configuration of a hub names."""
    return set(KEPT.findall(text))


def _is_whole(path: Path) -> bool:
    return path.is_file() and _hash(path) == path.name[:64]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_BUFFER):
            digest.update(chunk)
    return digest.hexdigest()


def _list_references(node: object) -> Iterator[str]:
    if isinstance(node, str):
        if node.startswith(PREFIX):
            yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _list_references(child)
