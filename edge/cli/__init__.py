"""The command line of the daemon: `edge`."""

from __future__ import annotations

from typing import Annotated

import typer

from edge import __version__
from edge.cli.application import application
from edge.cli.later import Later
from edge.cli.process_exit import leave_threads_behind

COMMANDS = {
    "setup": Later(
        "edge.cli.setup:setup",
        "Write a commented configuration for one camera, which is tried first.",
    ),
    "run": Later(
        "edge.cli.run:run", "Run the daemon until SIGTERM or Ctrl-C; SIGHUP reloads CONFIG."
    ),
    "check": Later(
        "edge.cli.check:check",
        "Open every model, sink and camera of CONFIG once; exit with 0 if all work, else 78.",
    ),
    "demo": Later(
        "edge.cli.demo:demo",
        "Run the daemon on SOURCEs, show its messages and its page, and draw the best frame.",
    ),
    "doctor": Later("edge.cli.doctor:doctor", "Check this machine and say what to do."),
    "watch": Later("edge.cli.watch:watch", "Show the messages of a node, live.", opencv=False),
    "detect": Later(
        "edge.cli.detect:detect",
        "Detect objects and faces in PATHs.",
        {"--model": "--detector", "--lanes": "--workers"},
    ),
    "classify": Later(
        "edge.cli.classify:classify",
        "Classify whole pictures, or what is found in them, and print the probabilities.",
    ),
    "explain": Later(
        "edge.cli.explain:explain",
        "Show which parts of PICTURE the answer of a model rests on.",
    ),
    "bench": Later(
        "edge.cli.bench:bench",
        "Measure throughput, CPU time, latency and memory against a decode-plus-inference "
        "baseline.",
        {"--lanes": "--workers"},
    ),
    "enroll": Later(
        "edge.cli.enroll:enroll",
        "Enroll NAME from PHOTOs or in front of a --camera, or everybody in a --folder.",
    ),
    "people": Later("edge.cli.people:app", "Manage enrolled people and what is stored about them."),
    "keys": Later(
        "edge.cli.keys:app",
        "Create encryption keys; say whose keys may subscribe.",
        opencv=False,
    ),
    "open": Later(
        "edge.cli.open_page:open_page",
        "Print the address of the page of the node of CONFIG.",
        opencv=False,
    ),
    "users": Later(
        "edge.cli.users:app", "Say who may use the page, and which programs may ask.", opencv=False
    ),
    "events": Later(
        "edge.cli.events:app", "Show what happened, and export what is kept of it.", opencv=False
    ),
    "fleet": Later(
        "edge.cli.fleet:app", "Let this box take its configuration from a hub.", opencv=False
    ),
    "hub": Later(
        "edge.cli.hub:app",
        "Choose what the boxes of a fleet run, and see their state.",
        opencv=False,
    ),
    "models": Later("edge.cli.models:app", "List the shipped models, and download larger ones."),
}
app = application(
    "Detect objects and recognize faces on many cameras; publish over ZeroMQ.", COMMANDS
)


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
