"""The catalog: larger third-party models, pinned by hash and downloaded on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.atomic_file import remove_leftovers, replace_file, write_file
from edge.compat import tomllib
from edge.errors import EdgeError, ModelError
from edge.manifest import Manifest, read_model
from edge.models.card import describes, format_card
from edge.models.catalog_entry import CatalogEntry
from edge.models.download import (
    Progress,
    explain_write_error,
    ignore_progress,
    lock,
    refuse_special,
)
from edge.onnxfile import read_metadata

PREFIX = "catalog:"
Adopt = Callable[[CatalogEntry, Path, Path], None]  # entry, foreign file -> contract file


class _Catalog(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    models: tuple[CatalogEntry, ...]


def read_catalog(file: Path) -> dict[str, CatalogEntry]:
    """Read the entries of a catalog, by name.

    Raises:
        ModelError: The file is unreadable or broken, or has a name twice.
    """
    try:
        catalog = _Catalog.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(
            f"the file is not a valid catalog, reinstall Edgewatch: {error}", file=file
        ) from error
    entries = {entry.name: entry for entry in catalog.models}
    if len(entries) < len(catalog.models):
        raise ModelError("the catalog has two models of one name: rename one", file=file)
    return entries


def find(name: str, entries: dict[str, CatalogEntry]) -> CatalogEntry:
    """Find the entry of a name, with or without ``catalog:``.

    Raises:
        ModelError: There is none.
    """
    entry = entries.get(name.removeprefix(PREFIX))
    if entry is None:
        raise ModelError(f"the catalog has no model {name}: use one of {', '.join(entries)}")
    return entry


def get_cache_folder() -> Path:
    """The folder of downloaded models: ``$XDG_CACHE_HOME/edgewatch`` or ``~/.cache/edgewatch``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "edgewatch"


def find_pulled(name: str, entries: dict[str, CatalogEntry]) -> Path:
    """Find the adopted model's file of ``catalog:NAME``.

    Raises:
        ModelError: There is no such model, or it was not downloaded yet.
    """
    entry = find(name, entries)
    path = get_cache_folder() / entry.file_name
    if not path.is_file():
        raise ModelError(
            f"{name} is not in {path.parent}: download it with `edge models pull {entry.name}`, as "
            "the same user"
        )
    return path


def pull(
    entry: CatalogEntry,
    folder: Path,
    adopt: Adopt,
    progress: Progress = ignore_progress,
    timeout_s: float = 30,
) -> Path:
    """Download, check and adopt a model unless it is there; returns the adopted model's file.

    Its card is beside it: the same name, ending in .md. A model that is not the one of its card
    is pulled again, and so is a file without a card that is no such model.

    Args:
        entry: What to download.
        folder: Where the adopted model and partial downloads go.
        adopt: Makes a contract model of a foreign one.
        progress: Called with the number of bytes that are there.
        timeout_s: Silence after which the server counts as failed.

    Raises:
        EdgeError: The server fails; the partial download stays for the next call.
        ModelError: The bytes differ from the pinned hash, or cannot be adopted.
    """
    target = folder / entry.file_name
    card, foreign = target.with_suffix(".md"), folder / entry.foreign_name
    for file in (target, card, foreign):
        refuse_special(file)
    is_whole = target.is_file() and _is_whole(entry, target, card)
    if not is_whole:
        entry.fetch(foreign, progress, timeout_s)
        _adopt(entry, foreign, target, adopt)
    if not is_whole or not card.is_file():
        _write_card(entry, target, card)
    return target


def _is_whole(entry: CatalogEntry, model: Path, card: Path) -> bool:
    """Whether a file is the model that was adopted: by its card, without one by its manifest."""
    if card.is_file():
        return describes(card, model)
    try:
        metadata = read_metadata(read_model(model), str(model))
        return Manifest.from_metadata(metadata, str(model), entry.task).name == entry.name
    except ModelError:
        return False


def _adopt(entry: CatalogEntry, foreign: Path, target: Path, adopt: Adopt) -> None:
    try:
        with foreign.open("rb") as opened:
            lock(opened, target)
            remove_leftovers(target)
            with replace_file(target, sync=True) as part:
                adopt(entry, foreign, part)
            foreign.unlink()
    except OSError as error:
        raise explain_write_error(error, target) from error


def _write_card(entry: CatalogEntry, model: Path, card: Path) -> None:
    try:
        write_file(card, format_card(entry, model))
    except OSError as error:
        raise EdgeError(
            f"the card cannot be written ({error.strerror or error}): free some space and pull "
            "again",
            file=card,
        ) from error
