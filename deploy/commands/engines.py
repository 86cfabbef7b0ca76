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
from rich.table import Table

from edge.cli.application import application
from edge.engines.cache import EngineCache, EngineEntry, default_root
from edge.engines.library import NAMES, find_library
from edge.errors import ConfigError

app = application("Manage the TensorRT engines in the cache.")

Cache = Annotated[Path | None, typer.Option("--cache", help="Engine cache; the user's by default.")]


@app.command("list")
def list_command(
    cache: Cache = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """List the engines and whether this machine would load them."""
    engines = EngineCache(cache or default_root())
    table = Table("model", "for", "MB", "built", "loads", title=str(engines.folder))
    for entry in engines.entries():
        why = reason_against(engines, entry)
        if as_json:
            row = {"file": str(entry.path), "name": entry.name, "loads": not why, "why": why}
            typer.echo(json.dumps(row | {"key": asdict(entry.key), "bytes": entry.size_bytes}))
        built = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.built_s))
        size = f"{entry.size_bytes / 1e6:.1f}"
        table.add_row(entry.name, str(entry.key), size, built, why or "yes")
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
    typer.echo(f"{engines.folder}: removed {len(paths)} files, {freed / 1e6:.1f} MB")


@app.command("trust")
@app.command("take", hidden=True, deprecated=True)
def trust_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Engine files of another cache.")
    ],
    cache: Cache = None,
) -> None:
    """Import engines that another machine built with --for; an engine is code: know its origin."""
    engines = EngineCache(cache or default_root())
    for file in files:
        entry = engines.trust(file)
        typer.echo(f"{entry.name}: {entry.key}\n{entry.path}")


def reason_against(cache: EngineCache, entry: EngineEntry) -> str:
    """Why this machine would not load an engine, apart from its GPU; empty when it would."""
    if not cache.is_own(entry):
        return "changed, or built elsewhere"
    here = versions()
    if entry.key.library not in here:
        return f"{entry.key.library} is not installed"
    if entry.key.version != here[entry.key.library]:
        return f"{entry.key.library} is now {here[entry.key.library]}"
    return ""


def versions() -> dict[str, str]:
    """Versions of the installed flavors of TensorRT, by name."""
    installed: dict[str, str] = {}
    for name in NAMES:
        with contextlib.suppress(ConfigError):
            installed[name] = find_library(name).version
    return installed
