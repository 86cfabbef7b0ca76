"""Reports: the results of checks as a table or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console

from edge.cli.table import make_table, to_cell
from edge.diagnostics.finding import Finding
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
    table = make_table("part", "ok", "detail", *(["what to do"] if hints else []))
    for finding in findings:
        verdict = "[green]yes[/]" if finding.ok else "[red]no[/]"
        texts = (finding.part, finding.detail, *([finding.hint] if hints else []))
        part, *others = map(to_cell, texts)
        table.add_row(part, verdict, *others)
    Console().print(table)
