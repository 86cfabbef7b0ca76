"""The catalog: larger third-party models, pinned by hash and downloaded on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.atomic_file import write_file
from edge.compat import tomllib
from edge.errors import EdgeError, ModelError
from edge.models.card import format_card
from edge.models.catalog_entry import CatalogEntry
from edge.models.download import Progress, ignore_progress

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

    Its card is beside it: the same name, ending in .md.

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
    if not target.is_file():
        foreign = folder / entry.foreign_name
        entry.fetch(foreign, progress, timeout_s)
        part = target.with_suffix(".adopting")
        try:
            adopt(entry, foreign, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        foreign.unlink()
    card = target.with_suffix(".md")
    if not card.is_file():
        _write_card(entry, target, card)
    return target


def _write_card(entry: CatalogEntry, model: Path, card: Path) -> None:
    try:
        write_file(card, format_card(entry, model))
    except OSError as error:
        raise EdgeError(
            f"the card cannot be written ({error.strerror or error}): free some space and pull "
            "again",
            file=card,
        ) from error
