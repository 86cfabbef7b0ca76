"""The terminal of the commands: progress, missing libraries, messages, files written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.graph.manifest import read_manifest
from edge.errors import ConfigError, ModelError
from edge.manifest import Manifest, read_model
from edge.models.paths import resolve_model
from trainers.keras_import import load_keras

USES = {
    "detect": "detect PICTURE --model",
    "faces": "detect PICTURE --faces",
    "embed": "enroll NAME PHOTO --embedder",
    "liveness": "run, as recognition.liveness =",
}


@contextlib.contextmanager
def show_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; call what it gives with how much was done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Imports of what only the extra `train` installs."""
    try:
        load_keras()
        yield
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'edgewatch[train]'"
        ) from error


@contextlib.contextmanager
def about(file: Path | str) -> Iterator[None]:
    """Begin the message of a ModelError with the file it is about."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file} {error}") from error


def read_contract(name: str) -> tuple[bytes, Manifest]:
    """A contract model, ``zoo:NAME`` or a path from here, and what it promises.

    Raises:
        ModelError: missing, or no model of the contract.
    """
    model = read_model(resolve_model(name, Path.cwd()))
    return model, read_manifest(model, name)


def write_model(target: Path, adopted: bytes, use: str) -> None:
    """Write a model and say what it is for."""
    try:
        target.write_bytes(adopted)
    except OSError as error:
        raise ConfigError(f"--out {target}: {error.strerror}: choose another place") from error
    typer.echo(f"{target}: {len(adopted) / 1e6:.1f} MB, try: edge {use} {target}")
