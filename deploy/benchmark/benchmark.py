"""The benchmark: how long contract models take, by runtime, precision and batch.

Everything that can run here is called in turn with the same pictures, so that other load on the
machine slows all of it alike. What cannot run is listed with the reason and has no figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deploy.graph.manifest import read_manifest
from edge import plugins
from edge.errors import ConfigError, EdgeError
from edge.manifest import Manifest
from edge.onnxfile import precision_of
from edge.ports import Runtime, Session
from edge.types import U8
from trainers.evaluation.timing import time_in_turn

RUNTIMES: Mapping[str, Mapping[str, Any]] = {
    "onnx": {"kind": "onnx", "threads": 0},
    "onnx cuda": {"kind": "onnx", "providers": ("CUDAExecutionProvider",)},
    "onnx tensorrt": {"kind": "onnx", "providers": ("TensorrtExecutionProvider",)},
    "tensorrt": {"kind": "tensorrt", "fallback": "none"},
    "triton": {"kind": "triton"},
}
ROUNDS = (5, 400)  # at least, at most


@dataclass(frozen=True, slots=True)
class Row:
    """Times of one model in one runtime, per batch.

    Attributes:
        runtime: One of `RUNTIMES`.
        batch: Pictures per batch.
        fps: Pictures per second at the median.
        calls: Number of timed calls.
    """

    model: str
    precision: str
    runtime: str
    batch: int
    p50_ms: float
    p99_ms: float
    fps: float
    calls: int


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """All measurements on a machine.

    Attributes:
        rows: By model, runtime and batch.
        skipped: By runtime, the reason why it was not measured.
    """

    machine: str
    rows: Sequence[Row]
    skipped: Mapping[str, str]

    def to_json(self) -> str:
        """The report for scripts."""
        rows = [asdict(row) for row in self.rows]
        return json.dumps({"machine": self.machine, "rows": rows, "skipped": dict(self.skipped)})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in a runtime."""

    manifest: Manifest
    precision: str
    runtime: str
    session: Session

    def batch(self, count: int) -> U8:
        """Coarse noise in the shape of the contract's input."""
        *clip, height, width, _ = self.manifest.input_shape
        coarse = np.random.default_rng(0).integers(
            0, 255, (count, *clip, height // 8 + 1, width // 8 + 1, 3), np.uint8
        )
        fine = coarse.repeat(8, -3).repeat(8, -2)
        return np.ascontiguousarray(fine[..., :height, :width, :])


def measure(
    models: Mapping[str, bytes],
    batches: Sequence[int],
    seconds: float,
    options: Mapping[str, Mapping[str, Any]] = RUNTIMES,
    advance: Callable[[int], None] = lambda _: None,
) -> BenchmarkReport:
    """Time every model (file name -> bytes) in every runtime that is available.

    Each batch size takes ``seconds`` for all models and runtimes together; then ``advance`` is
    called with 1.

    Raises:
        ModelError: A file is not a contract model, or ONNX Runtime cannot load it.
    """
    table: list[list[Row]] = []  # by batch, then by model and runtime
    skipped: dict[str, str] = {}
    with _loaded(models, options, skipped) as loaded:
        for count in batches:
            table.append(list(_rows(loaded, count, seconds)))
            advance(1)
    return BenchmarkReport(
        _machine(), [row for one in zip(*table, strict=True) for row in one], skipped
    )


@contextlib.contextmanager
def _loaded(
    models: Mapping[str, bytes], options: Mapping[str, Mapping[str, Any]], skipped: dict[str, str]
) -> Iterator[list[Loaded]]:
    loaded: list[Loaded] = []
    with contextlib.ExitStack() as stack:
        for runtime_name, table in options.items():
            for name, model in models.items():
                manifest = read_manifest(model, name)
                try:
                    runtime: Runtime = plugins.create("runtimes", table)
                    session = stack.enter_context(contextlib.closing(runtime.load(model, name)))
                except (EdgeError, ValueError, OSError) as error:  # pydantic's is a ValueError
                    if runtime_name == "onnx":
                        raise
                    skipped[runtime_name] = str(error).partition("\n")[0]
                    continue
                loaded.append(Loaded(manifest, precision_of(model), runtime_name, session))
        yield loaded


def _rows(loaded: Sequence[Loaded], count: int, seconds: float) -> Iterator[Row]:
    calls = [partial(one.session.infer, one.batch(count)) for one in loaded]
    round_s = float(time_in_turn(calls, 1).seconds.sum())
    times = time_in_turn(calls, int(np.clip(seconds / max(round_s, 1e-6), *ROUNDS)))
    for column, one in enumerate(loaded):
        p50_s, p99_s = (times.percentile_s(column, percent) for percent in (50, 99))
        yield Row(
            model=one.manifest.name, precision=one.precision, runtime=one.runtime, batch=count,
            p50_ms=p50_s * 1e3, p99_ms=p99_s * 1e3, fps=count / p50_s,
            calls=len(times.seconds),
        )  # fmt: skip


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {cores} cores"


def draw(report: BenchmarkReport, path: Path) -> None:
    """Draw pictures per second by batch size as a PNG, a line per model and runtime.

    Raises:
        ConfigError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines: dict[str, list[Row]] = {}
    for row in report.rows:
        lines.setdefault(f"{row.model} {row.precision}, {row.runtime}", []).append(row)
    for label, rows in lines.items():
        axes.plot([r.batch for r in rows], [r.fps for r in rows], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks([row.batch for row in report.rows], [str(row.batch) for row in report.rows])
    axes.set(ylim=(0, None), xlabel="batch", ylabel="pictures per second")
    axes.set_title(report.machine, fontsize="small")
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise ConfigError(f"--png {path}: {error.strerror}: choose another place") from error
