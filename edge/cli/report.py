"""Reports: the results of checks as a table or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.diagnostics.host import Finding
from edge.printable import escape_controls
from edge.redaction import redact

AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def show_report(findings: Sequence[Finding], as_json: bool) -> None:
    """Print findings without secrets; JSON has the field names of version 0.1 as well."""
    findings = [replace(finding, detail=redact(finding.detail)) for finding in findings]
    if as_json:
        for finding in findings:
            former = {"fine": finding.ok, "says": finding.detail, "remedy": finding.hint}
            typer.echo(json.dumps(asdict(finding) | former | {"works": finding.ok}))
        return
    hints = any(finding.hint for finding in findings)
    table = Table("part", "ok", "detail", *(["what to do"] if hints else []))
    for finding in findings:
        verdict = "[green]yes[/]" if finding.ok else "[red]no[/]"
        texts = (finding.part, finding.detail, *([finding.hint] if hints else []))
        part, *others = (Text(escape_controls(text, keep="\n")) for text in texts)
        table.add_row(part, verdict, *others)
    Console().print(table)
