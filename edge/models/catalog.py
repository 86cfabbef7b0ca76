"""The catalog: larger third-party models, pinned by hash and downloaded on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.compat import tomllib
from edge.errors import ModelError
from edge.manifest import Task
from edge.models.download import Download, Progress, ignore_progress

PREFIX = "catalog:"
Adopt = Callable[["CatalogEntry", Path, Path], None]  # entry, foreign file -> contract file


class CatalogEntry(BaseModel):
    """One model of the catalog.

    Attributes:
        task: Its task once adopted.
        url: The original release.
        sha256: The hash of the released file.
        size_bytes: The size of the released file.
        input_wh: Width and height of its input once adopted, pixels.
        quality: What its publisher measured.
        quality_source: Where that is published.
        note: What a user should know before choosing it.
        adopt: More options of ``edge-deploy adopt``, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    task: Task
    family: str
    url: str = Field(pattern=r"^https?://")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)
    license: str
    input_wh: tuple[int, int]
    trained_on: str = "unknown"
    quality: str
    quality_source: str
    note: str = ""
    adopt: dict[str, str | int | float] = Field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The file of the adopted model; another hash gives another file."""
        return f"{self.name}-{self.sha256[:12]}.onnx"


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
    if target.is_file():
        return target
    foreign = folder / f"{entry.name}-{entry.sha256[:12]}.foreign.onnx"
    Download(entry.url, foreign, entry.size_bytes, entry.sha256, timeout_s).run(progress)
    part = target.with_suffix(".adopting")
    try:
        adopt(entry, foreign, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    foreign.unlink()
    return target
