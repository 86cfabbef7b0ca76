"""`edge doctor`: what this box has, and what to do about what it lacks."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge.diagnostics.host import Box, Finding, ask
from edge.engines.cache import default_root

STATE = "/var/lib/edge"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show GPU, libraries, cameras, disk and clock of this box, and what is missing."""
    box = Box(Path("/"), os.environ.get("STATE_DIRECTORY", STATE), ask, default_root())
    findings = box.look()
    if as_json:
        for finding in findings:
            typer.echo(json.dumps(asdict(finding)))
    else:
        _show(findings)


def _show(findings: list[Finding]) -> None:
    table = Table("part", "fine", "says", "what to do")
    for finding in findings:
        verdict = "[green]yes[/]" if finding.fine else "[red]no[/]"
        table.add_row(finding.part, verdict, finding.says, finding.remedy)
    Console().print(table)
