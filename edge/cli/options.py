"""The gallery on the command line: where it is, what opens it, which models look at photographs."""

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
from edge.models.paths import model_path
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import EmbedderId
from edge.ports import FaceFinder
from edge.service.gallery_sync import gallery_path, key_place

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
LivenessName = Annotated[
    str,
    typer.Option("--liveness", envvar="EDGE_LIVENESS", help="Liveness model, a file or zoo:NAME."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for scripts.")]

GALLERY = Path("/var/lib/edge/gallery.db")
KEY = "/etc/edge/gallery.key"
EMBEDDER = "zoo:embed-nano"
FACES = "zoo:faces-nano"
LIVENESS = "zoo:liveness-nano"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the gallery, its key and the models are.

    Attributes:
        gallery: file.
        key: file of the master key or credential:NAME.
        embedder: file or zoo:NAME.
        faces: file or zoo:NAME.
        liveness: file or zoo:NAME.
    """

    gallery: Path
    key: str
    embedder: str
    faces: str
    liveness: str

    def completed(self, context: typer.Context, settings: Config, path: Path) -> Places:
        """What was not given on the command line comes from the daemon's configuration.

        Raises:
            ModelError: a model is not the one that is pinned there.
        """
        base = path.parent
        found: dict[str, Any] = {}
        files = {"faces": settings.models.faces}
        if rules := settings.recognition:
            found = {"gallery": gallery_path(rules, base), "key": key_place(rules, base)}
            files |= {"embedder": rules.embedder, "liveness": rules.liveness}
        for name, file in files.items():
            if file:
                found[name] = str(model_path(file.path, base))
        missing = {n: value for n, value in found.items() if _unsaid(context, n)}
        for name in missing:
            if file := files.get(name):
                read_model(Path(missing[name]), file.sha256)
        return replace(self, **missing)


def _unsaid(context: typer.Context, name: str) -> bool:
    """Whether an option was given neither on the command line nor in the environment."""
    source = context.get_parameter_source(name)
    return source is None or source.name.startswith("DEFAULT")


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
    finder = load_model("faces", runtime, model_path(faces, Path()))
    return finder, load_model("embed", runtime, model_path(embedder, Path()))


def load_liveness_model(name: str) -> ContractLiveness:
    """The model that tells a living face from a picture of one.

    Raises:
        ModelError: missing, broken or of the wrong task.
    """
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    return load_model("liveness", runtime, model_path(name, Path()))


def identity(embedder: ContractEmbedder) -> EmbedderId:
    """What a gallery remembers of an embedder."""
    return EmbedderId(embedder.name, embedder.sha256, embedder.dimension)


# How far above the threshold of one person's pictures another person's are taken for a mistake,
# as a share of what is left to 1. Measured: 0 of 1186 television frames of 250 people.
DUPLICATE_SHARE = 0.4


def duplicate_limit(threshold: float) -> float:
    """Similarity from which on two pictures are taken for one person's, for good or by mistake."""
    return threshold + DUPLICATE_SHARE * (1 - threshold)
