"""The command line of the trainers: `edge-train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.cli.group import application
from edge.errors import ConfigError

app = application("Trains detectors and face finders on your own pictures.")

Data = Annotated[
    list[Path], typer.Argument(help="Data sets: COCO JSON, Pascal VOC, YOLO text, labels.csv.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder.")]
Start = Annotated[
    str, typer.Option(help="Start from a .keras, .h5 or .onnx file or zoo:NAME where it fits.")
]
Freeze = Annotated[str, typer.Option(help="none, backbone, all, or prefixes of layer names.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training part.")]
Batch = Annotated[int, typer.Option(help="Pictures a step.")]
Rate = Annotated[
    float, typer.Option("--lr", help="Peak learning rate; 0 takes 1e-3, or 2e-4 with --start.")
]
Size = Annotated[int, typer.Option(help="Side of the network's input, a multiple of 32.")]
Hold = Annotated[float, typer.Option(help="Share of the groups held back for validation.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and augmentation; not of the split.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Patience = Annotated[int, typer.Option(help="Epochs without progress before stopping; 0: never.")]
Every = Annotated[int, typer.Option(help="Epochs between looks at the held-back part.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Mixed precision; for GPUs.")]
Devices = Annotated[int, typer.Option(help="Devices to train on.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of prepared pictures.")]


def _settings(start: str, lr: float, **values: Any) -> Any:  # noqa: ANN401 - heavy import
    from trainers.run import Settings

    return Settings(learning_rate=lr or (2e-4 if start else 1e-3), **values)


def _show(folder: Any, console: Console) -> None:  # noqa: ANN401 - heavy import
    table = Table("figure", "value", title=f"{folder.path / 'best.keras'}, held-back part")
    for name, value in folder.read("metrics.json").items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)


@app.command()
def detector(
    data: Data,
    out: Out,
    classes: Annotated[str, typer.Option(help="Comma-separated; all of the data if empty.")] = "",
    start: Start = "",
    start_classes: Annotated[
        str, typer.Option(help="What the class outputs of --start mean; YOLOX is known.")
    ] = "",
    freeze: Freeze = "none",
    backbone: Annotated[str, typer.Option(help="nano, slim, squeezenet, vgg16 ..")] = "nano",
    head: Annotated[str, typer.Option(help="free or anchor.")] = "free",
    assignment: Annotated[str, typer.Option(help="dynamic or grid.")] = "",
    size: Size = 416,
    epochs: Epochs = 60,
    batch: Batch = 8,
    lr: Rate = 0.0,
    hold: Hold = 0.2,
    seed: Seed = 0,
    strength: Annotated[float, typer.Option(help="Of the augmentation, 0 to 1.")] = 1.0,
    patience: Patience = 0,
    every: Every = 5,
    mixed: Mixed = False,
    devices: Devices = 1,
    cache: Cache = None,
    resume: Resume = False,
) -> None:
    """Train a detector."""
    from trainers.detector import Job, train_detector
    from trainers.losses import LossConfig
    from trainers.network import NetworkConfig

    if head not in ("free", "anchor"):
        raise ConfigError(f"--head must be free or anchor, got {head!r}")
    usual = {"free": "dynamic", "anchor": "grid"}[head]
    network = NetworkConfig(
        ("object",), (size, size), backbone, norm="none" if start else "batch", head="free"
    )
    job = Job(
        data=tuple(data), out=out, hold=hold, start=_file(start), cache=cache, devices=devices,
        classes=_names(classes), start_classes=_names(start_classes),
        network=network, head=head, loss=LossConfig(assignment=assignment or usual),  # type: ignore[arg-type]
        settings=_settings(
            start, lr, epochs=epochs, batch=batch, freeze=freeze, seed=seed, strength=strength,
            patience=patience, validate_every=every, mixed_precision=mixed,
        ),
    )  # fmt: skip
    _show(train_detector(job, resume=resume, verbose=1), Console())


def _file(name: str) -> Path | None:
    from edge.models.files import model_path

    return model_path(name, Path.cwd()) if name else None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command()
def faces(
    data: Data,
    out: Out,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="Folders without faces, or data sets that label people."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="An adopted face finder that labels unlabelled faces.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="yunet or slim.")] = "yunet",
    start: Start = "",
    freeze: Freeze = "none",
    size: Size = 256,
    epochs: Epochs = 60,
    batch: Batch = 32,
    lr: Rate = 0.0,
    hold: Hold = 0.2,
    seed: Seed = 0,
    patience: Patience = 0,
    every: Every = 5,
    mixed: Mixed = False,
    devices: Devices = 1,
    cache: Cache = None,
    resume: Resume = False,
) -> None:
    """Train a face finder with five points a face."""
    from trainers.detector import Job
    from trainers.faces import NETWORKS, FacesJob, train_faces

    if backbone not in NETWORKS:
        raise ConfigError(f"--backbone must be one of {', '.join(NETWORKS)}, got {backbone!r}")

    job = Job(
        data=tuple(data), out=out, hold=hold, start=_file(start), cache=cache, devices=devices,
        network=replace(NETWORKS[backbone], input_wh=(size, size)),
        settings=_settings(
            start, lr, epochs=epochs, batch=batch, freeze=freeze, seed=seed,
            patience=patience, validate_every=every, mixed_precision=mixed,
        ),
    )  # fmt: skip
    whole = FacesJob(job, tuple(negatives or ()), ask=_face_teacher(teacher) if teacher else None)
    _show(train_faces(whole, resume=resume, verbose=1), Console())


def _face_teacher(path: Path) -> Any:  # noqa: ANN401 - heavy import
    from edge.models.faces import load_faces
    from edge.runtimes.onnx import Options, build
    from trainers.teacher import of_faces

    return of_faces(load_faces(build(Options()), path))


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="A data set.")],
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this PNG.")] = None,
) -> None:
    """List broken files, boxes outside their picture and classes without examples."""
    from trainers.check import check_path
    from trainers.report import contact_sheet

    dataset, report = check_path(data)
    Console().print(str(report), markup=False, highlight=False)
    if sheet:
        contact_sheet(dataset, sheet)
    if not report.ok:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the `edge-train` command."""
    app()
