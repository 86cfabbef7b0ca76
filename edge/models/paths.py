"""Model names: from ``zoo:NAME``, ``catalog:NAME`` or a path to a file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edge.errors import ModelError
from edge.models import catalog
from edge.models.catalog_entry import CatalogEntry

ZOO = "zoo:"


def get_zoo_folder() -> Path:
    """The folder of the models that ship with Edgewatch."""
    return Path(str(resources.files("edge"))) / "zoo"


def list_zoo() -> list[str]:
    """Names of the models that ship with Edgewatch, sorted."""
    return sorted(path.stem for path in get_zoo_folder().glob("*.onnx"))


def read_shipped_catalog() -> dict[str, CatalogEntry]:
    """Models that can be downloaded, by name."""
    return catalog.read_catalog(get_zoo_folder() / "catalog.toml")


def resolve_model(name: str, base: Path) -> Path:
    """The file of ``zoo:NAME``, ``catalog:NAME`` or a path, relative ones from ``base``.

    Raises:
        ModelError: The zoo has no such model, or it was not downloaded from the catalog.
    """
    if name.startswith(catalog.PREFIX):
        return catalog.find_pulled(name, read_shipped_catalog())
    if not name.startswith(ZOO):
        try:
            return base / Path(name).expanduser()
        except RuntimeError as error:
            raise ModelError(f"{name}: there is no such user: write the whole path") from error
    path = get_zoo_folder() / f"{name.removeprefix(ZOO)}.onnx"
    if not path.is_file():
        known = ", ".join(f"{ZOO}{known}" for known in list_zoo()) or "(none)"
        raise ModelError(f"the zoo has no model {name}: use one of {known}, or a path")
    return path
