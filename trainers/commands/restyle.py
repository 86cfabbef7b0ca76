"""Command that makes night pictures of day pictures: `restyle`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from edge.errors import ConfigError
from edge.output_path import check_output_file, check_output_folder
from edge.printable import format_count
from trainers.commands.options import Seed, check_choice, check_path, find_model
from trainers.keras_import import load_keras

if TYPE_CHECKING:
    from trainers.restyle.restyle import RestyledPicture

_SUFFIXES = (".onnx", ".keras", ".h5")
_EVERY_S = 20  # between lines where there is no terminal


def restyle(
    data: Annotated[
        Path,
        typer.Argument(help="Labeled day pictures, of the kinds that training takes.",
                       callback=check_path),
    ],
    style: Annotated[
        Path,
        typer.Option(help="A folder of pictures of the camera at night or in infrared: a handful.",
                     callback=check_path),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Data set to write, a new folder.")],
    features: Annotated[
        str,
        typer.Option(help="Whose features compare: zoo:NAME, a run folder, or a .onnx, .keras or "
                     ".h5 file, such as published weights of VGG-16."),
    ] = "zoo:detect-nano",
    backbone: Annotated[
        str, typer.Option(help="Backbone of a file of --features; nano unless given.")
    ] = "",
    val_fraction: Annotated[
        float,
        typer.Option("--val-fraction",
                     help="Leave out what training with this fraction holds out; 0: nothing."),
    ] = 0.0,
    test_fraction: Annotated[
        float,
        typer.Option("--test-fraction",
                     help="That of the training, beside its --val-fraction."),
    ] = 0.0,
    most: Annotated[
        int, typer.Option("--max-images", min=0,
                          help="Images at most, spread over the data; 0: all.")
    ] = 0,
    side: Annotated[
        int, typer.Option("--size", help="Side of what is compared, a multiple of 32.")
    ] = 192,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps for each picture: time against likeness.")
    ] = 40,
    weight: Annotated[
        float, typer.Option("--style-weight", min=0.0, help="Of the style; the content's is 1.")
    ] = 3.0,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG to draw: day, style and result of some pictures.")
    ] = None,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Make labeled night pictures of labeled day pictures, by example.

    For each day picture a picture of --style is drawn. Light, colors and noise are fitted until the
    features of a frozen network occur together as in that picture (Gram matrices), while those of
    the day picture stay. Nothing moves, so labels stay: train on both folders.
    """
    from dataclasses import replace

    from trainers.networks.config import BACKBONES
    from trainers.restyle.folder import find_styles, make_plan, read_day, require_free
    from trainers.run.tell import tell, tell_notes

    if backbone:
        check_choice("--backbone", backbone, BACKBONES)
    if not math.isfinite(weight):
        raise ConfigError("--style-weight must be a finite number")
    require_free(data, style, out)
    check_output_folder(out, "--out")
    check_output_file(sheet, "--sheet", data, makes_folders=True)
    source = _find_features(features, side)
    styles = find_styles(style)
    dataset = read_day(data, val_fraction, test_fraction)
    tell_notes(dataset.notes)
    step = -(-len(dataset) // most) if most else 1
    dataset = replace(dataset, examples=dataset.examples[::step])
    tell(f"looking at {len(dataset)} pictures and {len(styles)} of the style", 1)
    plan = make_plan(dataset, styles, out)
    tell("loading Keras", 1)
    load_keras()
    from trainers.restyle.features import load_features
    from trainers.restyle.restyle import draw_fits, restyle_all
    from trainers.restyle.style import FitSettings, Restyler

    restyler = Restyler(
        load_features(source, backbone or "nano", side), FitSettings(steps, style=weight)
    )
    done = list(_watch(restyle_all(plan, restyler, seed), len(plan.examples)))
    day, night = (float(np.mean([getattr(one.fit, name) for one in done]))
                  for name in ("day_style", "style"))  # fmt: skip
    if sheet:
        draw_fits(plan, done, sheet)
        typer.echo(sheet)
    objects = sum(map(len, plan.examples))
    written = f"{format_count(len(done), 'image')}, {format_count(objects, 'object')}"
    typer.echo(f"{out}: {written}; style loss {day:.3g} by day, {night:.3g} now")


def _find_features(name: str, side: int) -> Path:
    """The file or run folder of --features, as far as can be told without Keras.

    Raises:
        ConfigError: It is none, or the side is no multiple of 32.
        ModelError: The zoo has no such model.
    """
    if side < 64 or side % 32:
        raise ConfigError(f"--size must be a multiple of 32 from 64 on, got {side}")
    path = find_model(name)
    if path.is_dir() and not (path / "best.keras").is_file():
        raise ConfigError(
            "--features: this folder holds no trained run (no best.keras): check the path",
            file=path,
        )
    if not path.is_dir() and (not path.is_file() or path.suffix not in _SUFFIXES):
        raise ConfigError(
            f"--features must be zoo:NAME, a run folder, or a {', '.join(_SUFFIXES)} file that "
            "exists",
            file=path,
        )
    return path


def _watch(fits: Iterator[RestyledPicture], total: int) -> Iterator[RestyledPicture]:
    """Pass on what is done, with a bar on a terminal, and a line now and then elsewhere."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from trainers.run.tell import tell

    console = Console(stderr=True)
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("pictures, {task.description} s each"),
        TimeElapsedColumn(), TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    began_s = said_s = time.monotonic()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("..", total=total)
        for done, one in enumerate(fits, 1):
            now_s = time.monotonic()
            each_s = (now_s - began_s) / done
            bar.update(task, advance=1, description=f"{each_s:.1f}")
            if not console.is_terminal and (now_s - said_s > _EVERY_S or done == total):
                tell(f"{done} of {total} pictures, {each_s:.1f} s each", 1)
                said_s = now_s
            yield one
    tell(f"{format_count(total, 'picture')} took {time.monotonic() - began_s:.0f} s", 1)
