"""`edge-deploy quantize`: a smaller model that is nearly as accurate, or none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.commands.terminal import (
    USES,
    about,
    read_contract,
    show_progress,
    training,
    write_model,
)
from edge.errors import ConfigError, EdgeError
from edge.models.paths import resolve_model

if TYPE_CHECKING:
    from deploy.quantize.quantizer import Quantizer, Trial
    from edge.types import U8


def quantize_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A contract model in FP32, or zoo:NAME.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Real pictures like those of your cameras; labelled ones are examined on too."
        ),
    ],
    fp16: Annotated[bool, typer.Option("--fp16", help="Halves, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Integers.")] = False,
    target: Annotated[
        str, typer.Option(help="Who runs the INT8 model: cpu (ONNX Runtime) or tensorrt.")
    ] = "cpu",
    exam: Annotated[
        Path | None, typer.Option(help="Labelled pictures to examine on; a part of --data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; NAME.PRECISION.onnx.")] = None,
    calibrate: Annotated[int, typer.Option(help="Pictures that ranges are chosen on.")] = 48,
    most: Annotated[int, typer.Option(help="Pictures of the exam.")] = 400,
    seven_bits: Annotated[
        bool,
        typer.Option("--seven-bits", help="Use 7-bit weights, for other programs without VNNI."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write it whatever it loses.")] = False,
) -> None:
    """Make MODEL smaller and, where its arithmetic allows, faster; refuse to lose accuracy.

    More than 1.0 points of average precision lost, or 0.5 points of an embedder's TAR, is refused.
    """
    if fp16 == int8:
        raise ConfigError("choose one: --fp16 or --int8")
    if target not in ("cpu", "tensorrt"):
        raise ConfigError(f"--target {target}: use cpu or tensorrt")
    with training():
        from deploy.graph.session import open_infer
        from deploy.quantize.accuracy import build_accuracy_check
        from deploy.quantize.calibration_set import read_calibration_set
        from deploy.quantize.quantizer import Quantizer
    source, manifest = read_contract(model)
    with about(model):
        calibration, dataset = read_calibration_set(manifest, data, exam, calibrate, most)
        quantizer = Quantizer(
            source, manifest, build_accuracy_check(manifest, dataset, open_infer(source))
        )
        if fp16:
            best = quantizer.half()
        else:
            best = _int8(quantizer, target, calibration, seven_bits=seven_bits)
    precision = "fp16" if fp16 else f"int8.{target}"
    _show(quantizer, best, precision, manifest.task)
    if target == "cpu" and not fp16:
        _show_speed(source, best.model, calibration)
    else:
        typer.echo("speed: not measured, this file is made for a GPU")
    if not (best.lost <= quantizer.limit or force):  # NaN is not
        raise EdgeError(
            f"{model} loses {best.lost:.2f} points in {precision}, more than {quantizer.limit}: "
            "give more pictures like those it will see (--data), stay with FP32, or --force"
        )
    stem = resolve_model(model, Path.cwd()).stem
    write_model(out or Path(f"{stem}.{precision}.onnx"), best.model, USES[manifest.task])


def _int8(quantizer: Quantizer, target: Any, inputs: U8, *, seven_bits: bool) -> Trial:  # noqa: ANN401
    """The trial with the fewest layers in float that loses little enough, else the best."""
    from dataclasses import replace

    from deploy.quantize.quantizer import KEPT_SHARES, get_int8_options

    with show_progress("looking at pictures", len(inputs)) as advance:
        ranges = quantizer.observed(inputs, advance)
    options = get_int8_options(target, seven_bits)
    if target == "cpu":
        first = quantizer.first_in_float(ranges, options, inputs)
        options = replace(options, kept=first)
        typer.echo(f"{len(first)} first layers stay in float, where they are faster")
    tried = [_tried(quantizer.trial(ranges, options))]
    if tried[0].lost <= quantizer.limit:
        return tried[0]
    with show_progress("one layer at a time", quantizer.layers) as advance:
        errors = quantizer.sensitivity(ranges, options, inputs, advance)
    worst = ", ".join(f"{name} {error:.1e}" for name, error in list(errors.items())[:3])
    typer.echo(f"most sensitive: {worst} (squared error over variance where decoding begins)")
    for share in KEPT_SHARES:
        sensitive = list(errors)[: max(1, round(share * len(errors)))]
        tried.append(_tried(quantizer.trial(ranges, options, sensitive)))
        if tried[-1].lost <= quantizer.limit:
            break
    return min(tried, key=lambda trial: (math.isnan(trial.lost), trial.lost))


def _tried(trial: Trial) -> Trial:
    typer.echo(f"{len(trial.kept)} layers in float: {_told(trial.figures)}")
    return trial


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())


def _show(quantizer: Quantizer, trial: Trial, precision: str, task: str) -> None:
    count = f"{len(trial.kept)} of {quantizer.layers} layers in float"
    table = Table("figure", "fp32", precision, "lost", title=f"{task}, {count}")
    for name, value in trial.figures.items():
        before = quantizer.before[name]
        table.add_row(name, f"{before:.2f}", f"{value:.2f}", f"{before - value:.2f}")
    Console().print(table)


def _show_speed(before: bytes, after: bytes, inputs: U8) -> None:
    from deploy.quantize.quantizer import time_models

    for threads, kind in ((1, "CPU ms"), (2, "ms")):
        times = time_models([before, after], inputs[:1], threads)
        fp32, int8 = (times.median_s(n) * 1e3 for n in range(2))
        typer.echo(
            f"{threads} thread{'s' * (threads > 1)}: {fp32:.1f} {kind} a picture in FP32, "
            f"{int8:.1f} in INT8, {times.speed(1):.2f} times as fast"
        )
    if times.speed(1) <= 1:
        typer.echo("INT8 does not pay on this processor: stay with FP32 here")
