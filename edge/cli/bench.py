"""`edge bench`: what the daemon costs on this machine, compared with a baseline."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edge import strict_json
from edge.cli.report import AsJsonLines
from edge.compat import Self
from edge.diagnostics.benchmark import (
    CLIP_FPS,
    Cost,
    Load,
    make_clip,
    measure_baseline,
    measure_daemon,
    median_ratio,
)
from edge.errors import ConfigError

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FRAMES = 150


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One row of the report."""

    what: str
    cameras: int
    input: str
    fps: float
    cpu_ms: float
    floor_cpu_ms: float
    cpu_ratio: float
    throughput_ratio: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    peak_mb: float


def bench(
    detector: Annotated[str, typer.Option(help="Object detector.")] = "zoo:detect-nano",
    faces: Annotated[str, typer.Option(help="Face detector; empty uses none.")] = "",
    video: Annotated[
        str, typer.Option(help="Video to scale; empty uses the picture of the demo.")
    ] = "",
    workers: Annotated[
        int, typer.Option(help="Inference workers of ONNX Runtime; 0 is one per core.")
    ] = 0,
    rounds: Annotated[int, typer.Option(help="Number of baseline/daemon rounds (odd).")] = 3,
    sizes: Annotated[str, typer.Option(help="Frame sizes.")] = "360p,720p,1080p",
    quick: Annotated[
        bool, typer.Option("--quick", help="About a minute: 720p, one short round; less exact.")
    ] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Measure throughput, CPU time, latency and memory against a decode-plus-inference baseline."""
    frames, seconds = FRAMES, 20.0
    if quick:
        sizes, rounds, frames, seconds = "720p", 1, 60, 5.0
    unknown = sorted(set(sizes.split(",")) - SIZES.keys())
    if unknown:
        raise ConfigError(f"unknown size {unknown[0]!r}: use {', '.join(SIZES)}", key="--sizes")
    report = _Report(as_json)
    with tempfile.TemporaryDirectory() as folder, _Progress() as progress:
        progress.tell("encoding clips")
        clips = {
            size: str(make_clip(Path(folder), SIZES[size], frames, video))
            for size in dict.fromkeys([*sizes.split(","), "720p", "1080p"])
        }
        for size in sizes.split(","):
            for cameras in (1, 4):
                progress.tell(f"{cameras} x {size}: baseline and daemon")
                load = Load(clips[size], cameras, detector, faces, workers, every_frame=True)
                report.add(_compare("every frame", load, size, rounds))
        progress.tell("live cameras: baseline and daemon")
        live = Load(
            clips["720p"], 4, detector, faces, workers, every_frame=False, fps=10, seconds=seconds
        )
        report.add(_compare("live, 10 fps each", live, "720p", rounds))
        progress.tell("latency without a model")
        no_model = replace(live, detector="", faces="")
        report.add(_make_row("no model, 10 fps", no_model, "720p", measure_daemon(no_model)))
        progress.tell("overload")
        full = replace(live, clip=clips["1080p"], fps=CLIP_FPS, seconds=min(seconds, 8))
        overload = measure_daemon(full)
        report.add(_make_row("overload, 30 fps each", full, "1080p", overload))
        report.say("smallest_share_under_overload", overload.fairness, "goal >= 0.80")
        limit_ms = 2 * overload.batch_s * 1e3 + 1000 / 30
        report.say("overload_p99_age_ms", overload.age_s(99) * 1e3, f"goal <= {limit_ms:.0f}")
        progress.tell("memory of a fifth camera")
        bare = replace(
            full, detector="", faces="", fps=10, seconds=4
        )  # the memory of a model would hide it
        four = measure_daemon(bare)
        five = measure_daemon(replace(bare, cameras=5))
        grown = (five.peak_bytes - four.peak_bytes) / 2**20
        report.say("memory_of_fifth_camera_mb", grown, "goal <= 40")


def _compare(what: str, load: Load, size: str, rounds: int) -> BenchRow:
    baselines, costs = [], []
    for _ in range(rounds):
        baselines.append(measure_baseline(load))
        costs.append(measure_daemon(load))
    cores = os.cpu_count() or 1
    ratio = median_ratio([c.cpu_per_frame_s for c in costs], [f.cpu_per_frame_s for f in baselines])
    # a machine cannot process more frames than cores / (CPU seconds per frame)
    share = median_ratio([c.fps for c in costs], [cores / f.cpu_per_frame_s for f in baselines])
    baseline_ms = statistics.median(f.cpu_per_frame_s for f in baselines) * 1e3
    middle = sorted(costs, key=lambda cost: cost.cpu_per_frame_s)[len(costs) // 2]
    row = _make_row(what, load, size, middle)
    if not load.every_frame:  # they do not use the whole machine
        share = float("nan")
    return replace(row, floor_cpu_ms=baseline_ms, cpu_ratio=ratio, throughput_ratio=share)


def _make_row(what: str, load: Load, size: str, cost: Cost) -> BenchRow:
    nan = float("nan")
    return BenchRow(
        what=what,
        cameras=load.cameras,
        input=size,
        fps=cost.fps,
        cpu_ms=cost.cpu_per_frame_s * 1e3,
        floor_cpu_ms=nan,
        cpu_ratio=nan,
        throughput_ratio=nan,
        p50_ms=cost.age_s(50) * 1e3,
        p95_ms=cost.age_s(95) * 1e3,
        p99_ms=cost.age_s(99) * 1e3,
        peak_mb=cost.peak_bytes / 2**20,
    )


class _Progress:
    """Tells what is being measured: as a spinner in a terminal, else line by line."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._spinner = Progress(*columns, console=console, transient=True)
        self._is_terminal = console.is_terminal
        self._task = self._spinner.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._spinner.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._spinner.stop()

    def tell(self, what: str) -> None:
        """Show the present step."""
        self._spinner.update(self._task, description=what)
        if not self._is_terminal:
            typer.echo(f"{what} ..", err=True)


class _Report:
    """Prints rows as they come, as lines of a table or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        if not as_json:
            typer.echo(f"{'':32}{'frames':>7}{'CPU ms':>8}{'base':>7}{'CPU /':>6}{'thrpt':>7}"
                       f"{'age ms':>24}{'peak':>6}")  # fmt: skip
            typer.echo(f"{'what':32}{'/ s':>7}{'/ frame':>8}{'line':>7}{'base':>6}{'/base':>7}"
                       f"{'p50 p95 p99':>24}{'MB':>6}")  # fmt: skip

    def add(self, row: BenchRow) -> None:
        """Print one row."""
        if self._as_json:
            typer.echo(strict_json.dumps(asdict(row)))
            return
        ages = " ".join(
            f"{ms:.1f}" if ms < 100 else f"{ms:.0f}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms)
        )
        what = f"{row.cameras} x {row.input} {row.what}".removesuffix(" every frame")
        typer.echo(
            f"{what:32}{_format(row.fps, 1):>7}{_format(row.cpu_ms, 1):>8}"
            f"{_format(row.floor_cpu_ms, 1):>7}{_format(row.cpu_ratio, 2):>6}"
            f"{_format(row.throughput_ratio, 2):>7}{ages:>24}{_format(row.peak_mb, 0):>6}"
        )

    def say(self, name: str, value: float, goal: str) -> None:
        """Print one figure and its goal."""
        if self._as_json:
            typer.echo(strict_json.dumps({"name": name, "value": value, "goal": goal}))
        else:
            typer.echo(f"{name}: {value:.2f} ({goal})")


def _format(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
