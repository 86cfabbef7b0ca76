"""The command line of the daemon: `edge`."""

from __future__ import annotations

from typing import Annotated

import typer

from edge import __version__
from edge.cli import keys, models, people
from edge.cli.application import application, deprecated_options
from edge.cli.bench import bench
from edge.cli.check import check
from edge.cli.demo import demo
from edge.cli.detect import detect
from edge.cli.doctor import doctor
from edge.cli.enroll import enroll
from edge.cli.process_exit import leave_threads_behind
from edge.cli.run import run
from edge.cli.setup import setup
from edge.cli.watch import watch

app = application("Detect objects and recognize faces on many cameras; publish over ZeroMQ.")
for command in (setup, run, check, demo, doctor, watch):
    app.command()(command)
app.command(cls=deprecated_options({"--model": "--detector", "--lanes": "--workers"}))(detect)
app.command(cls=deprecated_options({"--lanes": "--workers"}))(bench)
app.command()(enroll)
app.add_typer(people.app, name="people")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgewatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `edge` command."""
    with leave_threads_behind():
        app()
