"""Options of the commands that use the gallery, and what they open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edge import plugins
from edge.config import Config
from edge.manifest import read_model
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.paths import resolve_model
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.location import resolve_gallery, resolve_key
from edge.people.gallery.metadata import get_embedder_id
from edge.ports import Embedder, FaceFinder

EmbedderName = Annotated[
    str,
    typer.Option(
        "--embedder", envvar="EDGE_EMBEDDER", help="Embedder: a file, zoo:NAME or catalog:NAME."
    ),
]
FacesName = Annotated[
    str,
    typer.Option(
        "--faces", envvar="EDGE_FACES", help="Face model: a file, zoo:NAME or catalog:NAME."
    ),
]
LivenessName = Annotated[
    str,
    typer.Option("--liveness", envvar="EDGE_LIVENESS", help="Liveness model: a file or zoo:NAME."),
]

EMBEDDER = "zoo:embed-nano"
FACES = "zoo:faces-nano"
LIVENESS = "zoo:liveness-nano"


@dataclass(frozen=True, slots=True)
class GalleryOptions:
    """The gallery, its key and the models.

    Attributes:
        key: File of the master key, or credential:NAME.
    """

    gallery: Path
    key: str
    embedder: str
    faces: str
    liveness: str

    def with_defaults(self, context: typer.Context, settings: Config, path: Path) -> GalleryOptions:
        """Take what the command line does not give from the daemon's configuration at ``path``.

        Raises:
            ModelError: A model is not the one that is pinned there.
        """
        base = path.parent
        defaults: dict[str, Any] = {}
        files = {"faces": settings.models.faces}
        if rules := settings.recognition:
            defaults = {"gallery": resolve_gallery(rules, base), "key": resolve_key(rules, base)}
            files |= {"embedder": rules.embedder, "liveness": rules.liveness}
        for name, file in files.items():
            if file:
                defaults[name] = str(resolve_model(file.path, base))
        missing = {n: value for n, value in defaults.items() if not is_given(context, n)}
        for name in missing:
            if file := files.get(name):
                read_model(Path(missing[name]), file.sha256)
        return replace(self, **missing)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line or in the environment."""
    source = context.get_parameter_source(name)
    return source is not None and not source.name.startswith("DEFAULT")


def open_gallery(path: Path, key: str, embedder: Embedder | None = None) -> Gallery:
    """Open a gallery; comparing faces needs the embedder.

    Raises:
        GalleryError: There is no such gallery, the key is wrong, or it has another embedder.
    """
    return Gallery(path, load_key(key), get_embedder_id(embedder) if embedder else None)


def load_models(faces: str, embedder: str) -> tuple[FaceFinder, ContractEmbedder]:
    """Load the face finder and the embedder.

    Raises:
        ModelError: One is missing, broken or of the wrong task.
    """
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    finder = load_model("faces", runtime, resolve_model(faces, Path()))
    return finder, load_model("embed", runtime, resolve_model(embedder, Path()))


def load_liveness_model(name: str) -> ContractLiveness:
    """Load the liveness model.

    Raises:
        ModelError: It is missing, broken or of the wrong task.
    """
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    return load_model("liveness", runtime, resolve_model(name, Path()))
