"""`edge keys`: secrets in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.application import application
from edge.people.gallery.encryption import create_key_file

app = application("Makes secret keys.")


@app.callback()
def _group() -> None:
    pass


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; not there yet.")],
) -> None:
    """Make a random master key for a gallery, readable by you alone.

    Keep a copy in a safe place: without its key a gallery is lost.
    """
    create_key_file(file)
    typer.echo(f"{file}: a new master key. Keep a copy: without it its gallery is lost.")
