"""Commands for data sets: `label`, `crops`, `check`, `augment`. None needs Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge.output_path import check_output_file, check_output_folder
from edge.printable import format_count
from trainers.commands.options import (
    Data,
    Score,
    Seed,
    SettingsFile,
    Soft,
    Strength,
    build_runtime,
    build_settings,
    check_choice,
    check_paths,
    find_model,
    split_names,
)
from trainers.networks.config import NetworkConfig

if TYPE_CHECKING:
    from trainers.augment.augment import Sometimes
    from trainers.data.dataset import Dataset


def label(
    paths: Annotated[list[Path], typer.Argument(help="Images, videos, or folders of them.")],
    teacher: Annotated[str, typer.Option(help="A contract model, zoo:NAME or catalog:NAME.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Data set to write, a new folder.")],
    classes: Annotated[
        str, typer.Option(help="Comma-separated classes to label; empty: all of the model.")
    ] = "",
    score: Score = 0.5,
    soft: Soft = False,
    every: Annotated[int, typer.Option(help="Label every N-th frame of a video.", min=1)] = 10,
    form: Annotated[str, typer.Option("--format", help="Format: yolo or coco.")] = "yolo",
) -> None:
    """Label images and videos with a model: a data set to correct or to train on."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from trainers.pseudo_labels import label_folder, load_teacher
    from trainers.run.tell import tell_notes

    output = check_choice("--format", form, ("yolo", "coco"))
    check_output_folder(out, "--out", *paths)
    model = load_teacher(find_model(teacher), split_names(classes), score, soft=soft)
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} images"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        dataset = label_folder(paths, out, model, every, lambda: bar.advance(task), output)
    tell_notes(dataset.notes)
    objects = sum(len(example) for example in dataset.examples)
    labeled = f"{format_count(len(dataset), 'image')}, {format_count(objects, 'object')}"
    typer.echo(f"{out}: {labeled} of {', '.join(dataset.classes)}")


def crops(
    videos: Annotated[
        list[Path],
        typer.Argument(help="Recordings, or folders of them.", callback=check_paths),
    ],
    of: Annotated[str, typer.Option(help="Comma-separated classes of objects to cut out.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, a new one.")],
    detector: Annotated[
        str, typer.Option(help="A contract detector, zoo:NAME or catalog:NAME.")
    ] = "zoo:detect-nano",
    fps: Annotated[float, typer.Option(help="Frames per second to look at.", min=0.01)] = 5.0,
    margin: Annotated[
        float, typer.Option(help="Enlarge boxes by this fraction of their sides.", min=0, max=1)
    ] = 0.1,
    least: Annotated[
        int, typer.Option("--min-px", help="Shorter side of a box from which it is cut out.", min=1)
    ] = 24,
) -> None:
    """Cut one crop per track out of recordings, its best look, to be sorted into class folders.

    Objects are detected and followed as by the daemon. Move the files into a folder for each class
    and train on them with `edge-train classifier`.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from edge.models.contract import load_model
    from trainers.run.tell import tell_notes
    from trainers.track_crops import CropSettings, write_track_crops

    check_output_folder(out, "--out", *videos)
    model = load_model("detect", build_runtime(), find_model(detector))
    settings = CropSettings(of=split_names(of), fps=fps, margin=margin, least_px=least)
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} frames"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        written, notes = write_track_crops(videos, out, model, settings, lambda: bar.advance(task))
    tell_notes(notes)
    typer.echo(f"{out}: {format_count(len(written), 'crop')}, one per track")


def check(
    data: Annotated[Path, typer.Argument(help="A data set.")],
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this PNG.")] = None,
) -> None:
    """List broken files, boxes outside their image, exchanged eyes and classes without examples.

    The exit status is 1 where something is wrong. Notes are no fault: duplicates, which training
    keeps on one side of its split, and classes without an example.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trainers.data.check import check_path
    from trainers.evaluation.figures import contact_sheet

    check_output_file(sheet, "--sheet", data, makes_folders=True)
    console = Console(stderr=True)
    console.print(f"reading {data}", markup=False, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:

        def begin(dataset: Dataset) -> Callable[[], object]:
            console.print(f"looking at {format_count(len(dataset), 'picture')}", highlight=False)
            task = bar.add_task("", total=len(dataset))
            return lambda: bar.advance(task)

        dataset, report = check_path(data, on_read=begin)
    Console(soft_wrap=True).print(str(report), markup=False, highlight=False)
    if sheet:
        contact_sheet(dataset, sheet)
    if not report.ok:
        raise typer.Exit(1)


def augment(
    data: Data,
    sheet: Annotated[Path, typer.Option(help="PNG to draw: a row for each augmentation.")],
    trainer: Annotated[
        str, typer.Option("--for", help="Whose augmentations: detector, faces or classifier.")
    ] = "detector",
    settings: SettingsFile = None,
    strength: Strength = 1.0,
    mirror: Annotated[
        bool, typer.Option(help="With --for classifier: mirror pictures, as in training.")
    ] = True,
    size: Annotated[
        int, typer.Option("--input-size", help="With --for faces: side of the network's input.")
    ] = 256,
    seed: Seed = 0,
) -> None:
    """Draw what the augmentations make of pictures, before a network is trained on them."""
    from trainers.augment.presets import (
        change,
        name_class_augments,
        name_detector_augments,
        name_face_augments,
    )
    from trainers.data.class_data import read_class_data
    from trainers.data.read import read_dataset, read_face_dataset
    from trainers.evaluation.augment_sheet import draw_augment_sheet

    check_output_file(sheet, "--sheet", *data, makes_folders=True)
    if trainer == "faces":
        NetworkConfig(("face",), (size, size))  # refuses a size that cannot be
    chosen = build_settings("", 0, file=settings, seed=seed, strength=strength)  # as in training
    presets: dict[str, tuple[Callable[[Path], Dataset], Callable[[], Mapping[str, Sometimes]]]] = {
        "detector": (read_dataset, lambda: name_detector_augments(strength)),
        "faces": (read_face_dataset, lambda: name_face_augments(size, strength)),
        "classifier": (read_class_data, lambda: name_class_augments(strength, mirror=mirror)),
    }
    read, preset = presets[check_choice("--for", trainer, presets)]
    named = change(preset(), chosen.augment)
    dataset = read(data[0])
    for path in data[1:]:
        dataset = dataset + read(path)
    draw_augment_sheet(dataset, named, sheet, seed=seed)
    typer.echo(f"{sheet}: {', '.join(name for name, some in named.items() if some.chance)}")
