"""The catalogue: larger models by others, pinned by hash, pulled on demand into a cache."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import ModelError
from edge.manifest import Task
from edge.models.download import Download, Progress, ignored

PREFIX = "catalog:"
Adopt = Callable[["Entry", Path, Path], None]  # entry, foreign file -> contract file


class Entry(BaseModel):
    """One model of the catalogue.

    Attributes:
        name: what it is called here.
        task: of the contract, once adopted.
        family: which it is adopted as.
        url: of the original release.
        sha256: of the file there.
        size_bytes: of the file there.
        license: SPDX identifier of the weights.
        input_wh: network pixels, once adopted.
        trained_on: in words.
        quality: what its publisher measured.
        quality_source: where that is written.
        note: what a user should know before choosing it.
        adopt: options of ``edge-deploy adopt`` by name, beside those that are told above.
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
        """Of the adopted model; a new pin is a new file."""
        return f"{self.name}-{self.sha256[:12]}.onnx"


class _Catalog(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    models: tuple[Entry, ...]


def read_catalog(file: Path) -> dict[str, Entry]:
    """The entries of a catalogue by name.

    Raises:
        ModelError: unreadable, broken, or a name twice.
    """
    try:
        found = _Catalog.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(f"{file} is no catalogue: install Edgewatch again ({error})") from error
    entries = {entry.name: entry for entry in found.models}
    if len(entries) < len(found.models):
        raise ModelError(f"{file} names a model twice: give each its own name")
    return entries


def find(name: str, entries: dict[str, Entry]) -> Entry:
    """The entry of a name, with or without ``catalog:``.

    Raises:
        ModelError: there is none.
    """
    entry = entries.get(name.removeprefix(PREFIX))
    if entry is None:
        raise ModelError(f"{name} is not in the catalogue, which has {', '.join(entries)}")
    return entry


def cache_folder() -> Path:
    """Where pulled models lie: ``$XDG_CACHE_HOME/edgewatch``, else ``~/.cache/edgewatch``."""
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".cache") / "edgewatch"


def pulled_path(name: str, entries: dict[str, Entry]) -> Path:
    """``catalog:NAME`` -> the adopted model's file.

    Raises:
        ModelError: no such model, or it was not pulled yet.
    """
    entry = find(name, entries)
    path = cache_folder() / entry.file_name
    if not path.is_file():
        raise ModelError(
            f"{name} is not in {path.parent}: fetch it with `edge models pull {entry.name}`, as "
            "the user who runs this"
        )
    return path


def pull(
    entry: Entry, folder: Path, adopt: Adopt, progress: Progress = ignored, timeout_s: float = 30
) -> Path:
    """Download, check, adopt; the adopted model's file. Does nothing when it is there.

    Args:
        entry: what to pull.
        folder: where the adopted model goes; what is half done lies there too.
        adopt: makes a contract model of a foreign one.
        progress: is told how many bytes are there.
        timeout_s: silence after which the server is given up.

    Raises:
        EdgeError: the server fails; what came stays for the next call.
        ModelError: other bytes than the catalogue pins, or they cannot be adopted.
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
