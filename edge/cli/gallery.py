"""The gallery on the command line: where it is, what opens it, which models look at photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import plugins
from edge.models.embedder import ContractEmbedder, load_embedder
from edge.models.faces import load_faces
from edge.models.files import model_path
from edge.people.gallery import Gallery
from edge.people.settings import EmbedderId
from edge.people.vault import load_key
from edge.ports import FaceFinder

GalleryPath = Annotated[
    Path, typer.Option("--gallery", envvar="EDGE_GALLERY", help="The gallery's file.")
]
KeyPath = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="EDGE_GALLERY_KEY",
        help="File of the master key (edge keys new), or credential:NAME under systemd.",
    ),
]
EmbedderName = Annotated[
    str,
    typer.Option("--embedder", envvar="EDGE_EMBEDDER", help="Embedder, a file or zoo:NAME."),
]
FacesName = Annotated[
    str, typer.Option("--faces", envvar="EDGE_FACES", help="Face model, a file or zoo:NAME.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for scripts.")]

GALLERY = Path("/var/lib/edge/gallery.db")
KEY = "/etc/edge/gallery.key"
EMBEDDER = "zoo:embed-nano"
FACES = "zoo:faces-nano"


def open_gallery(path: Path, key: str) -> Gallery:
    """A gallery for work that compares nothing.

    Raises:
        GalleryError: no such gallery, or another key.
    """
    return Gallery(path, load_key(key))


def load_models(faces: str, embedder: str) -> tuple[FaceFinder, ContractEmbedder]:
    """The models that look at photographs.

    Raises:
        ModelError: one is missing, broken or of the wrong task.
    """
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    finder = load_faces(runtime, model_path(faces, Path()))
    return finder, load_embedder(runtime, model_path(embedder, Path()))


def identity(embedder: ContractEmbedder) -> EmbedderId:
    """What a gallery remembers of an embedder."""
    return EmbedderId(embedder.name, embedder.sha256, embedder.dimension)
