"""`edge run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.configuration import load_configuration
from edge.cli.process_exit import stop_before_start
from edge.config_file import locate_in
from edge.service.daemon import Daemon
from edge.service.log_format import set_up_logging


def run(
    configuration: Annotated[
        # Whether it can be read is said by what reads it.
        Path,
        typer.Argument(metavar="CONFIG", help="Configuration file (TOML).", readable=False),
    ],
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reloads CONFIG."""
    reload = stop_before_start()
    settings, models = load_configuration(configuration)
    set_up_logging(settings.log)
    daemon = Daemon(settings, configuration, models, set_up_log=set_up_logging)
    daemon.handle_signals()
    if reload.is_set():
        daemon.reload()
    with locate_in(configuration):
        daemon.run()
