"""Options of the commands that subscribe to a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ServerKey = Annotated[
    str,
    typer.Option(
        "--server-key", envvar="EDGE_SERVER_KEY", help="Public CURVE key of a node that encrypts."
    ),
]
ClientKey = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="EDGE_KEY_FILE",
        help="CURVE key pair of this client, which the node has authorized.",
    ),
]
