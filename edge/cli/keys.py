"""`edge keys`: encryption keys in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.application import application
from edge.people.gallery.encryption import create_key_file

app = application("Create encryption keys.")


@app.callback()
def _group() -> None:
    pass


@app.command("new")
def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to create; it must not exist.")
    ],
) -> None:
    """Create a random master key for a gallery, readable by its owner only.

    Back it up: without its key, a gallery cannot be decrypted.
    """
    create_key_file(file)
    typer.echo(f"created {file}; back it up: without it, the gallery cannot be decrypted")
