"""`edge run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import config
from edge.service import log_format as logs
from edge.service.daemon import Daemon


def run(
    configuration: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")],
) -> None:
    """Watch the cameras of CONFIG until SIGTERM or Ctrl-C; SIGHUP reads CONFIG again."""
    settings = config.load(configuration)
    logs.set_up(settings.log)
    daemon = Daemon(settings, configuration)
    daemon.handle_signals()
    with config.naming(configuration):
        daemon.run()
