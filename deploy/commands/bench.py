"""`edge-deploy bench`: how fast models are on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.benchmark.benchmark import RUNTIMES, BenchmarkReport, draw, measure
from deploy.commands.terminal import show_progress
from edge.cli.table import make_table
from edge.errors import ConfigError
from edge.extra import advise_extra
from edge.manifest import read_model
from edge.models.paths import resolve_model
from edge.output_path import check_output_file


def bench_command(
    models: Annotated[list[str], typer.Argument(help="Contract models, or zoo:NAME.")],
    batches: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8,32",
    seconds: Annotated[
        float,
        typer.Option(min=0, max=3600, help="Seconds per batch size, for all models together."),
    ] = 10.0,
    triton: Annotated[
        str, typer.Option(help="Address of a Triton server with the models, HOST:8001.")
    ] = "",
    png: Annotated[
        Path | None, typer.Option(help="Plot pictures per second by batch size.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time MODELS in every available runtime, in turn: p50, p99, pictures per second."""
    sizes = [int(part) for part in batches.split(",") if part.strip().isdigit()]
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"--batches {batches}: give sizes of at least 1, say 1,8,32")
    check_output_file(png, "--png")
    if png and find_spec("matplotlib") is None:
        raise ConfigError(f"--png needs matplotlib: {advise_extra('demo')}")
    files = {name: read_model(resolve_model(name, Path.cwd())) for name in models}
    options = {**RUNTIMES, "triton": {"kind": "triton", "url": triton}}
    with show_progress("batch sizes", len(sizes)) as advance:
        report = measure(files, sizes, seconds, options, advance)
    typer.echo(report.to_json()) if as_json else _show(report)
    if png:
        draw(report, png)


def _show(report: BenchmarkReport) -> None:
    table = make_table(
        "model", "precision", "runtime", "batch", "p50 ms", "p99 ms", "pictures/s", "calls",
        title=report.machine,
    )  # fmt: skip
    for row in report.rows:
        table.add_row(
            row.model, row.precision, row.runtime, str(row.batch), f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}", f"{row.fps:.1f}", str(row.calls),
        )  # fmt: skip
    Console().print(table)
    for runtime, reason in report.skipped.items():
        typer.echo(f"{runtime}: not measured: {reason}")
