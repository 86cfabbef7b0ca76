"""Helpers of several commands: progress bars, reading and writing models."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.graph.manifest import read_manifest
from edge.atomic_file import write_file
from edge.errors import ConfigError
from edge.extra import advise_extra
from edge.manifest import Manifest, read_model
from edge.models.paths import resolve_model
from edge.printable import format_bytes

USES = {
    "detect": "edge detect PICTURE --detector",
    "faces": "edge detect PICTURE --faces",
    "embed": "edge enroll NAME PHOTO --embedder",
    "liveness": "edge run, as recognition.liveness =",
    "landmarks": "edge-train evaluate --data FOLDER",
    "classify": "edge classify PICTURE --model",
}


@contextlib.contextmanager
def show_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; call the result with how many more are done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextlib.contextmanager
def require_training_extra() -> Iterator[None]:
    """Name the remedy when an import fails because the extra ``train`` is not installed."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: {advise_extra('train')}") from error


def read_contract(name: str) -> tuple[bytes, Manifest]:
    """Read a contract model, ``zoo:NAME`` or a path, and its manifest.

    Raises:
        ModelError: The file is missing or is not a contract model.
    """
    model = read_model(resolve_model(name, Path.cwd()))
    return model, read_manifest(model, name)


def write_model(target: Path, model: bytes, use: str) -> None:
    """Write a model and print a command that uses it."""
    try:
        write_file(target, model)
    except OSError as error:
        raise ConfigError(
            f"--out {target} cannot be written ({error.strerror}): choose another place"
        ) from error
    typer.echo(f"{target}: {format_bytes(len(model))}, try: {use} {target}")
