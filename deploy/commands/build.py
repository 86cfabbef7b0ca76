"""`edge-deploy build`: the engine of a model, for this machine or ahead for others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.engine.build import build, parse_request
from edge.cli.application import deprecated_options
from edge.engines.cache import DEFAULT, BuildOptions, EngineCache, default_root
from edge.manifest import read_model
from edge.models.paths import resolve_model
from edge.output_path import check_output_folder
from edge.printable import format_bytes

RENAMED = deprecated_options({"--usual-batch": "--opt-batch"})


def build_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Contract model, or zoo:NAME.")],
    ahead: Annotated[
        str, typer.Option("--for", help="Compute capabilities, say sm86,sm89; by default this GPU.")
    ] = "",
    library: Annotated[str, typer.Option(help="Library: auto, tensorrt or tensorrt_rtx.")] = "auto",
    device: Annotated[int, typer.Option(help="Number of the GPU.")] = 0,
    max_batch: Annotated[int, typer.Option(help="Largest batch size.", min=1)] = DEFAULT.max_batch,
    opt_batch: Annotated[
        int, typer.Option(help="Batch size to optimize for.", min=1)
    ] = DEFAULT.opt_batch,
    workspace: Annotated[
        int, typer.Option(help="MiB of workspace per layer.", min=1)
    ] = DEFAULT.workspace_mib,
    sweeps: Annotated[
        int,
        typer.Option(
            help="Unrolled sweeps of NMS; 0 keeps its loop and forgoes CUDA graphs.", min=0
        ),
    ] = DEFAULT.sweeps,
    cache: Annotated[Path | None, typer.Option(help="Engine cache; the user's by default.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds before giving up.")] = 3600,
    sha256: Annotated[
        str, typer.Option(help="Expected SHA-256 of MODEL; refuse any other file.")
    ] = "",
) -> None:
    """Build the TensorRT engine of MODEL into the cache that `edge run` loads from."""
    options = BuildOptions(min(opt_batch, max_batch), max_batch, workspace, sweeps)
    request = parse_request(options, ahead, library, device, timeout_s)
    check_output_folder(cache, "--cache")
    path, engines = resolve_model(model, Path.cwd()), EngineCache(cache or default_root())
    with _show_progress() as report:
        result = build(read_model(path, sha256), str(path), request, engines, report)
    entry = result.entry
    done = f"built in {entry.took_s:.1f} s" if result.is_new else "was there"
    typer.echo(f"{entry.name}: {entry.key}: {format_bytes(entry.size_bytes)}, {done}\n{entry.path}")


@contextlib.contextmanager
def _show_progress() -> Iterator[Callable[[str, float], None]]:
    """Show a bar on a terminal, lines elsewhere; call the result with step and fraction."""
    console = Console(stderr=True)
    tenths = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("building", total=1.0)

        def report(step: str, fraction: float) -> None:
            nonlocal tenths
            progress.update(task, description=step, completed=fraction)
            if not console.is_terminal and int(fraction * 10) > tenths:
                tenths = int(fraction * 10)
                typer.echo(f"{fraction:.0%} {step}", err=True)

        yield report
