"""Scope check: a box that nobody knows is told when a person's consent is said to hold there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import typer

from edge.errors import ConfigError
from edge.fleet.people_ledger import LedgerFile
from edge.people.gallery.records import EVERY_BOX


def warn_of_unknown(gallery: Path, boxes: Iterable[str]) -> None:
    """Say on standard error which boxes the hub with this gallery does not trust, if any."""
    with contextlib.suppress(ConfigError):  # a ledger that this user may not read
        known = LedgerFile.beside(gallery).read().boxes
        unknown = [box for box in boxes if box not in known and box != EVERY_BOX]
        if unknown:
            typer.echo(explain_unknown(unknown, known), err=True)


def explain_unknown(unknown: Iterable[str], known: Iterable[str]) -> str:
    """What to do about boxes that are in scopes and are not trusted."""
    trusted = f"those that are: {', '.join(sorted(known))}" if known else "none is so far"
    return (
        f"not trusted with people: {', '.join(sorted(unknown))} ({trusted}); correct the name with "
        "edge people scope, or edge hub trust the box"
    )
