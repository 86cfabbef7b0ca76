"""`edge doctor`: check hardware, drivers and libraries."""

from __future__ import annotations

import os
from pathlib import Path

from edge.cli.report import AsJsonLines, show_report
from edge.diagnostics.host import Host, run_command
from edge.engines.cache import default_root

STATE = "/var/lib/edge"


def doctor(as_json: AsJsonLines = False) -> None:
    """Check this machine and say what to do.

    Looks at GPU, hardware decoders, libraries, permissions on devices, disk, clock, and a Jetson's
    power mode, heat and supply.
    """
    state = os.environ.get("STATE_DIRECTORY", STATE)
    host = Host(Path("/"), state, run_command, default_root())
    show_report(host.check(), as_json)
