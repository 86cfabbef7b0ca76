"""`edge-deploy engines`: list, prune and import the engines of the cache."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge.cli.application import application
from edge.cli.table import make_table
from edge.engines.cache import EngineCache, EngineEntry, default_root
from edge.engines.cuda import Gpu, open_cuda
from edge.engines.library import NAMES, find_library
from edge.errors import ConfigError
from edge.printable import format_bytes, format_count

app = application("Manage the TensorRT engines in the cache.")

Cache = Annotated[Path | None, typer.Option("--cache", help="Engine cache; the user's by default.")]


@app.command("list")
def list_command(
    cache: Cache = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """List the engines and why this machine would not load one; loading is not tried."""
    engines = EngineCache(cache or default_root())
    gpu = find_gpu()
    table = make_table(
        "model", "for", "MB", "built", "loads", title=str(engines.folder), right=["MB"]
    )
    untried = "not tried" if gpu else "not tried: there is no GPU"
    for entry in engines.entries():
        why = reason_against(engines, entry) or (reason_against_gpu(gpu, entry) if gpu else "")
        if as_json:
            loads = False if why else None
            row = {"file": str(entry.path), "name": entry.name, "loads": loads, "why": why}
            typer.echo(json.dumps(row | {"key": asdict(entry.key), "bytes": entry.size_bytes}))
        built = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.built_s))
        size = f"{entry.size_bytes / 1e6:.1f}"
        table.add_row(entry.name, str(entry.key), size, built, f"no: {why}" if why else untried)
    if not as_json:
        Console().print(table)


@app.command("prune")
def prune_command(
    cache: Cache = None,
    days: Annotated[
        float, typer.Option(help="Also remove engines older than this; 0 keeps them.", min=0)
    ] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Remove every engine.")] = False,
) -> None:
    """Remove engines that this machine would not load, such as those of an earlier library."""
    engines = EngineCache(cache or default_root())
    oldest_s = time.time() - days * 86400 if days else 0.0
    paths = list(engines.leftovers())
    for entry in engines.entries():
        if everything or entry.built_s < oldest_s or reason_against(engines, entry):
            paths.append(entry.path)
    freed = sum(path.stat().st_size for path in paths)
    for path in paths:
        path.unlink(missing_ok=True)
    typer.echo(
        f"{engines.folder}: removed {format_count(len(paths), 'file')}, {format_bytes(freed)}"
    )


Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Engine files of another cache.")
]


@app.command("trust")
def trust_command(files: Files, cache: Cache = None) -> None:
    """Import engines that another machine built with --for; an engine is code: know its origin."""
    engines = EngineCache(cache or default_root())
    for file in files:
        entry = engines.trust(file)
        typer.echo(f"{entry.name}: {entry.key}\n{entry.path}")


@app.command("take", hidden=True, deprecated=True)
def take_command(files: Files, cache: Cache = None) -> None:
    """Do what `edge-deploy engines trust` does: use that name."""
    trust_command(files, cache)


def reason_against(cache: EngineCache, entry: EngineEntry) -> str:
    """Why this machine would not load an engine, apart from its GPU; empty when it would."""
    if not cache.is_own(entry):
        return "changed, or built elsewhere"
    here = versions()
    if entry.key.library not in here:
        return f"{entry.key.library} is not installed, or not supported"
    if entry.key.version != here[entry.key.library]:
        return f"{entry.key.library} is now {here[entry.key.library]}"
    return ""


def reason_against_gpu(gpu: Gpu, entry: EngineEntry) -> str:
    """Why an engine is not for a GPU; empty when it is."""
    ahead = not entry.key.gpu  # built in advance, for any GPU of its capabilities
    if gpu.capability in entry.key.capabilities and (ahead or entry.key.gpu == gpu.name):
        return ""
    return f"the GPU is {gpu.name} ({gpu.capability})"


def find_gpu() -> Gpu | None:
    """The GPU of this machine, if there is one."""
    with contextlib.suppress(ConfigError):
        return open_cuda().get_gpu()
    return None


def versions() -> dict[str, str]:
    """Versions of the installed flavors of TensorRT, by name."""
    installed: dict[str, str] = {}
    for name in NAMES:
        with contextlib.suppress(ConfigError):
            installed[name] = find_library(name).version
    return installed
