"""`edge bench`: what the daemon costs on this machine, beside the floor."""

from __future__ import annotations

import json
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
from rich.table import Table

from edge.diagnostics.benchmark import (
    Cost,
    Load,
    make_clip,
    measure_daemon,
    measure_floor,
    median_ratio,
)

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FRAMES = 150


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report."""

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
    detector: Annotated[str, typer.Option(help="Object model.")] = "zoo:detect-nano",
    faces: Annotated[str, typer.Option(help="Face model; empty is none.")] = "",
    video: Annotated[str, typer.Option(help="Real video to scale; none: the demo's.")] = "",
    lanes: Annotated[int, typer.Option(help="Of ONNX Runtime; 0 is one a core.")] = 0,
    rounds: Annotated[int, typer.Option(help="Turns of floor and daemon; odd.")] = 3,
    sizes: Annotated[str, typer.Option(help="Inputs.")] = "360p,720p,1080p",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Measure frames a second, CPU a frame, age at publish and memory beside the floor."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    report = _Report(as_json)
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("encoding clips", total=None)
        clips = {
            size: str(make_clip(Path(folder), SIZES[size], FRAMES, video))
            for size in dict.fromkeys([*sizes.split(","), "720p", "1080p"])
        }
        for size in sizes.split(","):
            for cameras in (1, 4):
                progress.update(task, description=f"{cameras} x {size}: floor and daemon in turn")
                load = Load(clips[size], cameras, detector, faces, lanes, every_frame=True)
                report.add(_against_floor("every frame", load, size, rounds))
        progress.update(task, description="live cameras: floor and daemon in turn")
        live = Load(clips["720p"], 4, detector, faces, lanes, every_frame=False, fps=10, seconds=20)
        report.add(_against_floor("live, 10 fps each", live, "720p", rounds))
        progress.update(task, description="age at publish, a model that costs nothing")
        nothing = replace(live, detector="", faces="")
        report.add(_row("no model, 10 fps", nothing, "720p", measure_daemon(nothing)))
        progress.update(task, description="more frames than the machine can do")
        full = Load(clips["1080p"], 4, detector, faces, lanes, every_frame=False)
        overload = measure_daemon(full)
        report.add(_row("overload, 30 fps each", full, "1080p", overload))
        progress.update(task, description="memory of a fifth camera")
        bare = replace(
            full, detector="", faces="", fps=10, seconds=4
        )  # a model takes what it likes
        four = measure_daemon(bare)
        five = measure_daemon(replace(bare, cameras=5))
    report.show()
    report.say("smallest_share_under_overload", overload.smallest_share, "goal >= 0.80")
    limit_ms = 2 * overload.batch_s * 1e3 + 1000 / 30
    report.say("overload_p99_age_ms", overload.age_s(99) * 1e3, f"goal <= {limit_ms:.0f}")
    grown = (five.peak_bytes - four.peak_bytes) / 2**20
    report.say("memory_of_fifth_camera_mb", grown, "goal <= 40")


def _against_floor(what: str, load: Load, size: str, rounds: int) -> Row:
    floors, costs = [], []
    for _ in range(rounds):
        floors.append(measure_floor(load))
        costs.append(measure_daemon(load))
    cores = os.cpu_count() or 1
    ratio = median_ratio([c.cpu_per_frame_s for c in costs], [f.cpu_per_frame_s for f in floors])
    # a machine of so many cores can do no more frames than cores / CPU seconds a frame
    share = median_ratio([c.fps for c in costs], [cores / f.cpu_per_frame_s for f in floors])
    floor_ms = statistics.median(f.cpu_per_frame_s for f in floors) * 1e3
    middle = sorted(costs, key=lambda cost: cost.cpu_per_frame_s)[len(costs) // 2]
    row = _row(what, load, size, middle)
    if not load.every_frame:  # they do not ask for all that the machine can do
        share = float("nan")
    return replace(row, floor_cpu_ms=floor_ms, cpu_ratio=ratio, throughput_ratio=share)


def _row(what: str, load: Load, size: str, cost: Cost) -> Row:
    nan = float("nan")
    return Row(
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


class _Report:
    """Collects rows; prints them as a table or as JSON lines."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if self._as_json:
            typer.echo(json.dumps(asdict(row)))

    def show(self) -> None:
        if self._as_json:
            return
        table = Table(
            "what", "frames/s", "CPU ms\na frame", "floor\nms", "CPU /\nfloor", "share of\nfloor's",
            "age ms\np50 p95 p99", "peak\nMB",
        )  # fmt: skip
        for row in self._rows:
            ages = " ".join(f"{ms:.3g}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms))
            table.add_row(
                f"{row.cameras} x {row.input} {row.what}".removesuffix(" every frame"),
                *(_figure(x, 1) for x in (row.fps, row.cpu_ms, row.floor_cpu_ms)),
                *(_figure(x, 2) for x in (row.cpu_ratio, row.throughput_ratio)),
                ages,
                _figure(row.peak_mb, 0),
            )
        Console().print(table)

    def say(self, name: str, value: float, goal: str) -> None:
        if self._as_json:
            typer.echo(json.dumps({"name": name, "value": value, "goal": goal}))
        else:
            typer.echo(f"{name}: {value:.2f} ({goal})")


def _figure(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
