"""Where a node has its gallery and the key of it."""

from __future__ import annotations

from pathlib import Path

from edge.config import Recognition


def resolve_gallery(settings: Recognition, base: Path) -> Path:
    """The path of the gallery; relative to ``base``, the configuration's folder."""
    return base / Path(settings.gallery).expanduser()


def resolve_key(settings: Recognition, base: Path) -> str:
    """The path of the master key, or credential:NAME."""
    where = settings.key_file
    return where if ":" in where else str(base / Path(where).expanduser())
