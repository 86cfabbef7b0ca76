"""Options that several commands share, and the models that options name."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge import config_file
from edge.errors import ConfigError, collect_errors
from edge.models.paths import resolve_model
from edge.output_path import check_output_folder

if TYPE_CHECKING:
    from edge.models.embedder import ContractEmbedder
    from edge.models.faces import ContractFaceFinder
    from edge.runtimes.onnx import OnnxRuntime
    from trainers.pseudo_labels import Predict
    from trainers.run.settings import Settings


FILE_SETTINGS = ("weight_decay", "momentum", "warmup_epochs", "clip_norm", "ema")
_MOST_THREADS = 16


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


def check_cache(path: Path | None) -> Path | None:
    """Refuse a cache that cannot be written, before the libraries for training are loaded."""
    check_output_folder(path, "--cache")
    return path


def check_fraction(option: typer.CallbackParam, value: float) -> float:
    """Refuse what is no fraction, which leaves something of the data."""
    if not 0 <= value < 1:
        raise ConfigError(f"{option.opts[0]} must be in [0, 1), got {value:g}")
    return value


def check_score(option: typer.CallbackParam, value: float) -> float:
    """Refuse what is no score."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{option.opts[0]} must be in [0, 1], got {value:g}")
    return value


def check_run(out: Path, data: Sequence[Path], *, resume: bool) -> None:
    """Refuse a run folder before anything is loaded, read or learned.

    Raises:
        ConfigError: It cannot be written, is among the data, or does not fit ``resume``.
    """
    from trainers.run.folder import RunFolder

    check_output_folder(out, "--out", *data)
    RunFolder.require_ready(out, resume=resume)


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
Classes = Annotated[
    str, typer.Option(help="Comma-separated classes to learn; empty: all in the data.")
]
Backbone = Annotated[
    str,
    typer.Option(
        help="Backbone: nano, slim, squeezenet, vgg16, resnet18 or resnet50; unless given nano "
        "with --start, else slim."
    ),
]
Freeze = Annotated[
    str,
    typer.Option(
        help="Layers to freeze: none, backbone, all, auto (by the size of the data), or prefixes."
    ),
]
StartPartial = Annotated[
    bool, typer.Option(help="Accept a --start of which less than half of the layers fit.")
]
Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
ChosenEpochs = Annotated[
    int | None,
    typer.Option(help="Passes over the training data; chosen by its size unless given."),
]
Strength = Annotated[float, typer.Option(help="Strength of augmentation, 0 to 1.")]
Batch = Annotated[int, typer.Option(help="Images per step.")]
Rate = Annotated[
    float,
    typer.Option("--lr", help="Peak learning rate; 0: the default, which is lower with --start."),
]
InputSize = Annotated[
    int, typer.Option("--input-size", help="Side of the network's input, a multiple of 32.")
]
ValFraction = Annotated[
    float,
    typer.Option(
        "--val-fraction",
        help="Fraction of the groups held out for validation.",
        callback=check_fraction,
    ),
]
TestFraction = Annotated[
    float,
    typer.Option(
        "--test-fraction",
        help="Fraction of the groups kept for a test of the finished network, which chose nothing.",
        callback=check_fraction,
    ),
]
OnlyVal = Annotated[
    float,
    typer.Option(
        "--val-fraction",
        help="Evaluate only what training with this --val-fraction holds out; 0: everything.",
        callback=check_fraction,
    ),
]
WithoutTest = Annotated[
    float,
    typer.Option(
        "--test-fraction",
        help="That of the training, beside its --val-fraction; its test part is left out, or with "
        "--part test evaluated.",
        callback=check_fraction,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")]
Threads = Annotated[
    int,
    typer.Option(min=0, help="Threads that prepare batches; 0: one a core, at most 16."),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="TOML file with weight_decay, momentum, warmup_epochs, clip_norm, ema or activation, "
        "and a table [augment.NAME] for each augmentation that differs.",
        callback=check_path,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
Patience = Annotated[
    int, typer.Option(help="Stop after this many epochs without progress; 0: never.")
]
Every = Annotated[int, typer.Option(help="Epochs between validations.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Train in mixed precision, for GPUs.")]
Devices = Annotated[int, typer.Option(help="Number of devices to train on.")]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of cached images and features.", callback=check_cache)
]
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
Score = Annotated[
    float,
    typer.Option(help="Drop the teacher's detections below this score.", callback=check_score),
]
Soft = Annotated[bool, typer.Option("--soft", help="Weight each label by the teacher's score.")]


def build_settings(
    start: object, lr: float, *, threads: int = 0, file: Path | None = None,
    **values: Any,  # noqa: ANN401 - fields
) -> Settings:  # fmt: skip
    """The settings of a run; a network that starts from weights learns at a lower rate.

    Raises:
        ConfigError: A value cannot be, or ``file`` has another than those that no option has.
    """
    from trainers.run.settings import Settings

    values |= read_settings(file)
    return Settings(
        learning_rate=lr or (2e-4 if start else 1e-3),
        threads=threads or min(len(os.sched_getaffinity(0)), _MOST_THREADS),
        **values,
    )


def read_settings(file: Path | None) -> dict[str, Any]:
    """What a settings file says; nothing without one.

    Raises:
        ConfigError: It cannot be read, or has something else in it.
    """
    if file is None:
        return {}
    tree, _ = config_file.read(file)
    return {name: _read_setting(name, value, file) for name, value in tree.items()}


def _read_setting(name: str, value: object, file: Path) -> object:
    if name == "augment":
        if not (isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())):
            raise ConfigError(
                "augment must have a table for each augmentation: [augment.night]", file=file
            )
        return value
    if name == "activation":
        if not isinstance(value, str):
            raise ConfigError(f"activation must be text, got {value!r}", file=file)
        return value
    if name not in FILE_SETTINGS:
        known = ", ".join((*FILE_SETTINGS, "activation", "augment"))
        raise ConfigError(f"{name!r} is none of {known}: options have the others", file=file)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, got {value!r}", file=file)
    return float(value)


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
