"""`edge-deploy quantize`: a smaller model that is nearly as accurate, or none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from deploy.commands.terminal import (
    USES,
    read_contract,
    require_training_extra,
    show_progress,
    write_model,
)
from edge.cli.application import deprecated_options
from edge.cli.table import make_table
from edge.errors import ConfigError, EdgeError, locate
from edge.models.paths import resolve_model
from edge.output_path import check_output_file

if TYPE_CHECKING:
    from deploy.quantize.int8 import Target
    from deploy.quantize.quantizer import Quantizer, Trial
    from edge.types import U8

MIN_FIGURE = 1.0  # percent, of the float model: below it nothing is measured
RENAMED = deprecated_options({"--exam": "--val-data", "--most": "--max-images"})


def quantize_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Contract model in FP32, or zoo:NAME.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Real pictures like those of your cameras; labeled ones also check the accuracy."
        ),
    ],
    fp16: Annotated[bool, typer.Option("--fp16", help="Convert to FP16, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Convert to INT8.")] = False,
    target: Annotated[
        str, typer.Option(help="Runtime of the INT8 model: cpu (ONNX Runtime) or tensorrt.")
    ] = "cpu",
    val_data: Annotated[
        Path | None,
        typer.Option(help="Labeled pictures to check the accuracy on; by default part of --data."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; NAME.PRECISION.onnx by default.")
    ] = None,
    calibrate: Annotated[int, typer.Option(min=1, help="Number of pictures to calibrate on.")] = 48,
    max_images: Annotated[
        int, typer.Option(min=1, help="Most pictures to check accuracy on.")
    ] = 400,
    seven_bits: Annotated[
        bool,
        typer.Option("--seven-bits", help="Use 7-bit weights, for other programs without VNNI."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write the model whatever accuracy it loses.")
    ] = False,
) -> None:
    """Make MODEL smaller and, where its arithmetic allows, faster, without losing accuracy.

    A loss of more than 1.0 points of average precision or of a classifier's balanced accuracy, or
    0.5 points of an embedder's TAR, is refused.
    """
    if fp16 == int8:
        raise ConfigError("choose exactly one of --fp16 and --int8")
    if target not in ("cpu", "tensorrt"):
        raise ConfigError(f"--target {target} is unknown: use cpu or tensorrt")
    precision = "fp16" if fp16 else f"int8.{target}"
    file = resolve_model(model, Path.cwd())
    written = out or Path(f"{file.stem}.{precision}.onnx")
    check_output_file(written, "--out", file)
    with require_training_extra():
        from deploy.graph.session import open_infer
        from deploy.quantize.accuracy import build_accuracy_check
        from deploy.quantize.calibration_set import read_calibration_set
        from deploy.quantize.quantizer import Quantizer
        from trainers.run.tell import tell_notes
    source, manifest = read_contract(model)
    with locate(file=model):
        calibration, dataset = read_calibration_set(manifest, data, val_data, calibrate, max_images)
        tell_notes(dataset.notes)
        check = build_accuracy_check(manifest, dataset, open_infer(source))
        quantizer = Quantizer(source, manifest, check)
        if max(quantizer.before.values()) < MIN_FIGURE and not force:
            figures = ", ".join(f"{name} {value:.2f}" for name, value in quantizer.before.items())
            raise EdgeError(
                f"the model finds next to nothing of what is labeled ({figures}), so a loss "
                "cannot be measured: give pictures like those it will see with --val-data, or "
                "use --force"
            )
        if fp16:
            best = quantizer.to_fp16()
        else:
            best = _search_int8(
                quantizer, cast("Target", target), calibration, seven_bits=seven_bits
            )
    _show(quantizer, best, precision, manifest.task)
    if target == "cpu" and not fp16:
        _show_speed(source, best.model, calibration)
    else:
        typer.echo("speed: not measured, this file is made for a GPU")
    if not (best.loss <= quantizer.max_loss or force):  # NaN is not
        raise EdgeError(
            f"{model} loses {best.loss:.2f} points in {precision}, more than "
            f"{quantizer.max_loss}: give more pictures like those it will see (--data), stay with "
            "FP32, or use --force"
        )
    write_model(written, best.model, USES[manifest.task])


def _search_int8(quantizer: Quantizer, target: Target, inputs: U8, *, seven_bits: bool) -> Trial:
    """The trial with the fewest layers in float whose loss is allowed, else the best one."""
    from deploy.quantize.quantizer import KEPT_SHARES, get_int8_options

    with show_progress("observing ranges", len(inputs)) as advance:
        ranges = quantizer.observe_ranges(inputs, advance)
    options = get_int8_options(target, seven_bits=seven_bits)
    if target == "cpu":
        first = quantizer.find_first_float_layers(ranges, options, inputs)
        options = replace(options, kept=first)
        typer.echo(f"the first {len(first)} layers stay in float, where they are faster")
    trials = [_report(quantizer.trial(ranges, options))]
    if trials[0].loss <= quantizer.max_loss:
        return trials[0]
    with show_progress("one layer at a time", quantizer.layers) as advance:
        errors = quantizer.measure_sensitivity(ranges, options, inputs, advance)
    worst = ", ".join(f"{name} {error:.1e}" for name, error in list(errors.items())[:3])
    typer.echo(f"most sensitive: {worst} (squared error over variance where decoding begins)")
    for share in KEPT_SHARES:
        sensitive = list(errors)[: max(1, round(share * len(errors)))]
        trials.append(_report(quantizer.trial(ranges, options, sensitive)))
        if trials[-1].loss <= quantizer.max_loss:
            break
    return min(trials, key=lambda trial: (math.isnan(trial.loss), trial.loss))


def _report(trial: Trial) -> Trial:
    figures = ", ".join(f"{name} {value:.2f}" for name, value in trial.figures.items())
    typer.echo(f"{len(trial.float_layers)} layers in float: {figures}")
    return trial


def _show(quantizer: Quantizer, trial: Trial, precision: str, task: str) -> None:
    count = f"{len(trial.float_layers)} of {quantizer.layers} layers in float"
    table = make_table("figure", "fp32", precision, "lost", title=f"{task}, {count}")
    for name, value in trial.figures.items():
        before = quantizer.before[name]
        table.add_row(name, f"{before:.2f}", f"{value:.2f}", f"{before - value:.2f}")
    Console().print(table)


def _show_speed(before: bytes, after: bytes, inputs: U8) -> None:
    from deploy.quantize.quantizer import time_models

    for threads, unit in ((1, "CPU ms"), (2, "ms")):
        times = time_models([before, after], inputs[:1], threads)
        fp32, int8 = (times.median_s(n) * 1e3 for n in range(2))
        typer.echo(
            f"{threads} thread{'s' * (threads > 1)}: {fp32:.1f} {unit} per picture in FP32, "
            f"{int8:.1f} in INT8, {times.speed(1):.2f} times as fast"
        )
    if times.speed(1) <= 1:
        typer.echo("INT8 does not pay on this processor: stay with FP32 here")
