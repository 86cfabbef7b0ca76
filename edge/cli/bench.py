"""`edge bench`: what the daemon costs on this machine, compared with a baseline."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edge import strict_json
from edge.cli.report import AsJsonLines
from edge.compat import Self
from edge.diagnostics.benchmark import (
    Cost,
    Load,
    measure_baseline,
    measure_daemon,
    median_ratio,
)
from edge.diagnostics.capacity import MAX_P99_S, MIN_SHARE, find_most, is_carried
from edge.diagnostics.clips import CLIP_FPS, Scene, make_clips
from edge.errors import ConfigError
from edge.printable import format_count

LOOK_FPS = 5.0  # of cameras that are to be found out how many of them are carried
MAX_CAMERAS = 64
GROWTH = (1, 2, 4, 8, 16, 32, MAX_CAMERAS)
TRIES = 2  # of a number of cameras: another program may have taken the machine for a while
FIND_S = 600.0  # no new try after that
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FRAMES = 150


class Gate(str, Enum):
    """Whether networks look only where something moves."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One row of the report.

    Attributes:
        fps: Frames per second of all cameras.
        looks: Looks of the networks per second.
    """

    what: str
    cameras: int
    input: str
    fps: float
    looks: float
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
    scene: Annotated[
        Scene,
        typer.Option(help="What the cameras see; mixed: one in five is busy, the others quiet."),
    ] = Scene.BUSY,
    gate: Annotated[Gate, typer.Option(help="Motion gate of live cameras.")] = Gate.ON,
    find_cameras: Annotated[
        bool,
        typer.Option(
            "--find-cameras",
            help="Only find how many live 720p cameras are carried at 5 looks a second, up to 64.",
        ),
    ] = False,
    growth: Annotated[
        bool,
        typer.Option(
            "--growth",
            help="Only measure 1 to 64 live 720p cameras at 5 looks a second, as they grow.",
        ),
    ] = False,
    stream_fps: Annotated[
        float,
        typer.Option(
            min=LOOK_FPS, max=60, help="Frame rate of the cameras of --find-cameras and --growth."
        ),
    ] = LOOK_FPS,
    as_json: AsJsonLines = False,
) -> None:
    """Measure throughput, CPU time, latency and memory against a decode-plus-inference baseline.

    Cameras are carried when the p99 age of their messages is at most 500 ms and each gets at least
    nine tenths of its frames; finding how many takes a quarter of an hour at most.
    """
    frames, seconds = FRAMES, 20.0
    if quick:
        sizes, rounds, frames, seconds = "720p", 1, 60, 5.0
    unknown = sorted(set(sizes.split(",")) - SIZES.keys())
    if unknown:
        raise ConfigError(f"unknown size {unknown[0]!r}: use {', '.join(SIZES)}", key="--sizes")
    if find_cameras and growth:
        raise ConfigError("is another measurement: use one of them", key="--growth --find-cameras")
    only_live = find_cameras or growth
    wanted = ["720p"] if only_live else list(dict.fromkeys([*sizes.split(","), "720p", "1080p"]))
    with tempfile.TemporaryDirectory() as folder, _Progress() as progress:
        progress.tell("encoding clips")
        clips = {
            size: tuple(map(str, make_clips(Path(folder), scene, SIZES[size], frames, video)))
            for size in wanted
        }
        live = Load(
            clips["720p"], 4, detector, faces, workers, every_frame=False, fps=10, seconds=seconds,
            gate=gate is Gate.ON,
        )  # fmt: skip
        report = _Report(as_json)
        if only_live:
            live = replace(live, fps=stream_fps, look_fps=LOOK_FPS, seconds=min(seconds, 8))
            measure = _find_cameras if find_cameras else _measure_growth
            measure(live, f"{scene.value}, gate {gate.value}", report, progress)
            return
        for size in sizes.split(","):
            for cameras in (1, 4):
                progress.tell(f"{cameras} x {size}: baseline and daemon")
                load = replace(live, clips=clips[size], cameras=cameras, every_frame=True)
                report.add(_compare("every frame", load, size, rounds))
        _measure_live(live, clips["1080p"], rounds, report, progress)


def _measure_live(
    live: Load, large: tuple[str, ...], rounds: int, report: _Report, progress: _Progress
) -> None:
    """Latency, overload with the ``large`` clips, and memory of live cameras."""
    progress.tell("live cameras: baseline and daemon")
    report.add(_compare("live, 10 fps each", live, "720p", rounds))
    progress.tell("latency without a model")
    no_model = replace(live, detector="", faces="")
    report.add(_make_row("no model, 10 fps", no_model, "720p", measure_daemon(no_model)))
    progress.tell("overload")
    full = replace(live, clips=large, fps=CLIP_FPS, seconds=min(live.seconds, 8))
    overload = measure_daemon(full)
    report.add(_make_row("overload, 30 fps each", full, "1080p", overload))
    # frames of a quiet camera cost next to nothing: a busy one beside it loses more
    goal = "goal >= 0.80" if len(set(large)) == 1 else "no goal where some are quiet"
    report.say("smallest_share_under_overload", overload.fairness, goal)
    limit_ms = 2 * overload.batch_s * 1e3 + 1000 / 30
    report.say("overload_p99_age_ms", overload.age_s(99) * 1e3, f"goal <= {limit_ms:.0f}")
    progress.tell("memory of a fifth camera")
    # the memory of a model would hide it
    bare = replace(full, detector="", faces="", fps=10, seconds=4)
    four = measure_daemon(bare)
    five = measure_daemon(replace(bare, cameras=5))
    grown = (five.peak_bytes - four.peak_bytes) / 2**20
    report.say("memory_of_fifth_camera_mb", grown, "goal <= 40")


def _find_cameras(live: Load, what: str, report: _Report, progress: _Progress) -> None:
    """How many cameras the machine carries; each try is a row."""
    deadline_s = time.monotonic() + FIND_S
    peaks: dict[int, int] = {}

    def carries(cameras: int) -> bool:
        for _ in range(TRIES):
            progress.tell(format_count(cameras, "camera"))
            cost = measure_daemon(replace(live, cameras=cameras))
            peaks.setdefault(cameras, cost.peak_bytes)
            report.add(_make_row(what, replace(live, cameras=cameras), _name_stream(live), cost))
            if is_carried(cost, cameras, live.look_fps):
                return True
        return False

    most = find_most(carries, MAX_CAMERAS, lambda: time.monotonic() > deadline_s)
    goal = f"p99 age <= {MAX_P99_S * 1e3:.0f} ms, {MIN_SHARE:.0%} of every camera's frames"
    report.say("cameras_carried", most, goal)
    _say_memory(peaks, report)


def _measure_growth(live: Load, what: str, report: _Report, progress: _Progress) -> None:
    """What more and more cameras cost, whether they are carried or not."""
    peaks: dict[int, int] = {}
    for cameras in GROWTH:
        progress.tell(format_count(cameras, "camera"))
        load = replace(live, cameras=cameras)
        cost = measure_daemon(load)
        peaks[cameras] = cost.peak_bytes
        report.add(_make_row(what, load, _name_stream(live), cost))
    _say_memory(peaks, report)


def _name_stream(live: Load) -> str:
    """As in tables: 720p of a stream of which every frame is looked at, 720p25."""
    return "720p" if live.fps == live.look_fps else f"720p{live.fps:g}"


def _say_memory(peaks: dict[int, int], report: _Report) -> None:
    """What a camera takes, from the peaks with few and with many of them."""
    if len(peaks) > 1:
        few, many = min(peaks), max(peaks)
        grown = (peaks[many] - peaks[few]) / (many - few) / 2**20
        report.say("memory_per_camera_mb", grown, "goal <= 30")


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
        looks=cost.looks / cost.wall_s,
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
            typer.echo(f"{'':32}{'frames':>7}{'looks':>7}{'CPU ms':>8}{'base':>7}{'CPU /':>6}"
                       f"{'thrpt':>7}{'age ms':>24}{'peak':>6}")  # fmt: skip
            typer.echo(f"{'what':32}{'/ s':>7}{'/ s':>7}{'/ frame':>8}{'line':>7}{'base':>6}"
                       f"{'/base':>7}{'p50 p95 p99':>24}{'MB':>6}")  # fmt: skip

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
            f"{what:32}{_format(row.fps, 1):>7}{_format(row.looks, 1):>7}"
            f"{_format(row.cpu_ms, 1):>8}{_format(row.floor_cpu_ms, 1):>7}"
            f"{_format(row.cpu_ratio, 2):>6}"
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
