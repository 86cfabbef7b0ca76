"""Options that several commands share, and the models that options name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.errors import ConfigError, collect_errors
from edge.models.paths import resolve_model

if TYPE_CHECKING:
    from edge.models.embedder import ContractEmbedder
    from edge.models.faces import ContractFaceFinder
    from edge.runtimes.onnx import OnnxRuntime
    from trainers.pseudo_labels import Predict
    from trainers.run.settings import Settings


def check_paths(paths: list[Path] | None) -> list[Path] | None:
    """Refuse paths that do not exist, before the libraries for training are loaded."""
    with collect_errors() as errors:
        for path in paths or ():
            with errors.catch():
                if not path.exists():
                    raise ConfigError("does not exist: check the path", file=path)
    return paths


def check_path(path: Path | None) -> Path | None:
    """Refuse a path that does not exist, see `check_paths`."""
    check_paths([path] if path else [])
    return path


Data = Annotated[
    list[Path],
    typer.Argument(
        help="Data sets: COCO JSON, Pascal VOC, YOLO text or data.yaml, labels.csv.",
        callback=check_paths,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder.")]
Start = Annotated[
    str, typer.Option(help="Start from the weights of a .keras, .h5 or .onnx file or zoo:NAME.")
]
Freeze = Annotated[
    str, typer.Option(help="Layers to freeze: none, backbone, all, or prefixes of their names.")
]
Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
Batch = Annotated[int, typer.Option(help="Images per step.")]
Rate = Annotated[
    float,
    typer.Option("--lr", help="Peak learning rate; 0: the default, which is lower with --start."),
]
InputSize = Annotated[
    int, typer.Option("--input-size", help="Side of the network's input, a multiple of 32.")
]
ValFraction = Annotated[
    float, typer.Option("--val-fraction", help="Fraction of the groups held out for validation.")
]
OnlyVal = Annotated[
    float,
    typer.Option(
        "--val-fraction",
        help="Evaluate only what training with this --val-fraction holds out; 0: everything.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
Patience = Annotated[
    int, typer.Option(help="Stop after this many epochs without progress; 0: never.")
]
Every = Annotated[int, typer.Option(help="Epochs between validations.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Train in mixed precision, for GPUs.")]
Devices = Annotated[int, typer.Option(help="Number of devices to train on.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of cached images and features.")]
Views = Annotated[
    int,
    typer.Option(
        "--cache-features",
        help="With --freeze: cache the features of N augmented views of each image; 0: augment "
        "anew in each epoch.",
    ),
]
Scenes = Annotated[
    list[Path] | None,
    typer.Option(help="Folders of images used as backgrounds of attacks.", callback=check_paths),
]
Score = Annotated[float, typer.Option(help="Drop the teacher's detections below this score.")]
Soft = Annotated[bool, typer.Option("--soft", help="Weight each label by the teacher's score.")]


def build_settings(start: object, lr: float, **values: Any) -> Settings:  # noqa: ANN401 - fields
    """The settings of a run; a network that starts from weights learns at a lower rate."""
    from trainers.run.settings import Settings

    return Settings(learning_rate=lr or (2e-4 if start else 1e-3), **values)


def find_model(name: str) -> Path:
    """The file of a model: a path, zoo:NAME or catalog:NAME."""
    return resolve_model(name, Path.cwd())


def find_start(name: str) -> Path | None:
    """The file to start from, None without one."""
    return find_model(name) if name else None


def build_runtime() -> OnnxRuntime:
    """A runtime for the models that a command evaluates or asks."""
    from edge.runtimes.onnx import Options, build

    return build(Options())


def load_face_detector(name: str) -> ContractFaceFinder:
    """Load a face detector."""
    from edge.models.contract import load_model

    return load_model("faces", build_runtime(), find_model(name))


def load_face_teacher(name: str) -> Predict:
    """Load a face detector as a function of pictures."""
    from trainers.pseudo_labels import wrap_face_detector

    return wrap_face_detector(load_face_detector(name))


def load_contract_embedder(name: str) -> ContractEmbedder:
    """Load an embedder."""
    from edge.models.contract import load_model

    return load_model("embed", build_runtime(), find_model(name))


def split_names(text: str) -> tuple[str, ...]:
    """Names from a comma-separated option."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_choice(option: str, value: str, choices: Collection[str]) -> Any:  # noqa: ANN401 - a Literal
    """The value of an option that has a few choices.

    Raises:
        ConfigError: It is not one of them.
    """
    if value not in choices:
        *others, last = choices
        raise ConfigError(f"{option} must be {', '.join(others)} or {last}, got {value!r}")
    return value
