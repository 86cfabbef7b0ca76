"""`edge run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import config_file
from edge.config_file import locate_in
from edge.service import log_format as logs
from edge.service.daemon import Daemon


def run(
    configuration: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")],
) -> None:
    """Watch the cameras of CONFIG until SIGTERM or Ctrl-C; SIGHUP reads CONFIG again."""
    settings = config_file.load(configuration)
    logs.set_up(settings.log)
    daemon = Daemon(settings, configuration)
    daemon.handle_signals()
    with locate_in(configuration):
        daemon.run()
