"""`edge models`: models that ship, and models to download."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from edge import plugins
from edge.cli.application import application
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError, ModelError
from edge.extra import advise_extra
from edge.manifest import KEY, Manifest, read_model
from edge.models import catalog, download
from edge.models.catalog_entry import CatalogEntry
from edge.models.paths import ZOO, list_zoo, read_shipped_catalog, resolve_model
from edge.printable import escape_controls

app = application("List the shipped models, and download larger ones.")

_ADOPT_S = 600
# `python -P -m deploy`, which 3.10 lacks: nothing is imported from the working directory.
_DEPLOY = (
    "import sys; sys.path[:] = filter(None, sys.path); from deploy.__main__ import main; main()"
)
_HOME = Path(__file__).parents[2]  # where `edge` and, beside it, `deploy` are installed
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List models that ship and models that can be downloaded."""
    rows = [_describe_shipped(name) for name in list_zoo()]
    rows += [_describe_catalogued(entry) for entry in read_shipped_catalog().values()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = make_table(
        "MODEL", "TASK", "INPUT", "MB", "LICENSE", "STATE", right=("INPUT", "MB"), lines=False
    )
    for row in rows:
        size = "x".join(map(str, row["input_wh"]))
        mega = f"{row['size_bytes'] / 1e6:.1f}"
        cells = (row["model"], row["task"], size, mega, row["license"], row["state"])
        table.add_row(*map(to_cell, cells))
    Console().print(table)


@app.command("info")
def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Model, as listed by `edge models list`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show quality, license, training data and origin of a model."""
    shipped = name.removeprefix(ZOO) in list_zoo() and not name.startswith(catalog.PREFIX)
    if shipped or name.startswith(ZOO):
        about = _describe_shipped(name.removeprefix(ZOO))
    else:
        about = _describe_catalogued(catalog.find(name, read_shipped_catalog()))
    if as_json:
        typer.echo(json.dumps(about))
        return
    for key, value in about.items():
        typer.echo(f"{key:15} {escape_controls(_format(value))}")


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model of the catalog.")],
    to: Annotated[
        Path | None, typer.Option(help="Target folder (default: the user's cache).")
    ] = None,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", min=0.1, help="Give up after this many seconds without data."),
    ] = 30,
) -> None:
    """Download a model of the catalog, verify its hash, adopt it and print its path.

    Its card, with license, data and hashes, is beside it as .md. An interrupted download is
    resumed; a package is downloaded by pip, from the index that pip is set up for, or taken from
    its archive in the target folder. In a configuration, the model is named
    `catalog:NAME`, or by the printed path if --to was used.
    """
    if name.startswith(ZOO) or name in list_zoo():
        raise ConfigError(f"{name} ships with Edgewatch: there is nothing to download")
    entry = catalog.find(name, read_shipped_catalog())
    _require_deploy()
    with _bar(entry) as progress:
        path = catalog.pull(entry, to or catalog.get_cache_folder(), adopt, progress, timeout_s)
    typer.echo(path)


def adopt(entry: CatalogEntry, foreign: Path, target: Path) -> None:
    """Turn a foreign model into a contract model, in a separate process.

    Raises:
        ModelError: It cannot be adopted.
    """
    options = {"license": entry.license, "trained-on": entry.trained_on, **entry.adopt}
    words = [f"--{key}={value}" for key, value in options.items()]
    command = [
        sys.executable, "-c", _DEPLOY, "adopt", str(foreign), f"--family={entry.family}",
        f"--name={entry.name}", f"--out={target}", *words,
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - our own program; the file's hash was checked
            command, env={**os.environ, "PYTHONPATH": str(_HOME)}, capture_output=True, text=True,
            timeout=_ADOPT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{entry.name} was not adopted within {_ADOPT_S} s") from error
    if done.returncode:
        raise ModelError(f"{entry.name} cannot be adopted: {done.stderr.strip()[-600:]}")


def _require_deploy() -> None:
    if importlib.util.find_spec("onnx") is None or not (_HOME / "deploy").is_dir():
        raise ConfigError(f"adopting a model needs onnx: {advise_extra('deploy')}, then pull again")


@contextmanager
def _bar(entry: CatalogEntry) -> Iterator[download.Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn(entry.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as bar:
        task = bar.add_task(entry.name, total=entry.download_bytes)
        yield lambda count: bar.update(task, completed=count)


def _describe_shipped(name: str) -> dict[str, Any]:
    path = resolve_model(f"{ZOO}{name}", Path())
    model = read_model(path)
    session = plugins.create("runtimes", {"kind": "onnx"}).load(model, str(path))
    try:
        manifest = Manifest.model_validate_json(session.metadata[KEY])
    finally:
        session.close()
    fields = manifest.model_dump(exclude={"schema_version", "name"})
    return {
        "model": f"{ZOO}{name}", "state": "shipped", "path": str(path),
        "size_bytes": len(model), **fields,
    }  # fmt: skip


def _describe_catalogued(entry: CatalogEntry) -> dict[str, Any]:
    path = catalog.get_cache_folder() / entry.file_name
    exists = path.is_file()
    return {
        "model": f"{catalog.PREFIX}{entry.name}", "state": "pulled" if exists else "not pulled",
        "path": str(path) if exists else "",
        **entry.model_dump(exclude={"name"}, exclude_none=True),
    }  # fmt: skip


def _format(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value) or "-"
