"""Options of the commands that open a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GalleryPath = Annotated[
    Path, typer.Option("--gallery", envvar="EDGE_GALLERY", help="Gallery file.")
]
KeyPath = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="EDGE_GALLERY_KEY",
        help="Master key file (see edge keys new), or credential:NAME under systemd.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

GALLERY = Path("/var/lib/edge/gallery.db")
KEY = "/etc/edge/gallery.key"
