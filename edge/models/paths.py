"""Model files: where a name in the configuration leads."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edge.errors import ModelError
from edge.models import catalog

ZOO = "zoo:"


def zoo_folder() -> Path:
    """The folder of the models that ship with Edgewatch."""
    return Path(str(resources.files("edge"))) / "zoo"


def zoo_names() -> list[str]:
    """Names of the models that ship with Edgewatch."""
    return sorted(path.stem for path in zoo_folder().glob("*.onnx"))


def catalogued() -> dict[str, catalog.Entry]:
    """Models that can be pulled, by name."""
    return catalog.read_catalog(zoo_folder() / "catalog.toml")


def model_path(name: str, base: Path) -> Path:
    """``zoo:NAME``, ``catalog:NAME`` or a path, relative ones from ``base`` -> the file's path.

    Raises:
        ModelError: the zoo has no such model, or it was not pulled from the catalogue.
    """
    if name.startswith(catalog.PREFIX):
        return catalog.pulled_path(name, catalogued())
    if not name.startswith(ZOO):
        return base / Path(name).expanduser()
    path = zoo_folder() / f"{name.removeprefix(ZOO)}.onnx"
    if not path.is_file():
        known = ", ".join(f"{ZOO}{known}" for known in zoo_names()) or "nothing yet"
        raise ModelError(f"{name} is not in the zoo, which has {known}: use one of them or a path")
    return path
