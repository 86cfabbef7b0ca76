"""`edge-deploy triton`: a model repository for a Triton server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.terminal import read_contract
from deploy.triton import render_config, write_repository


def triton_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A contract model, or zoo:NAME.")],
    out: Annotated[Path, typer.Option(help="The server's model repository.")],
    batch: Annotated[int, typer.Option(help="Pictures in one batch, of all boxes.")] = 32,
    wait_us: Annotated[int, typer.Option(help="Microseconds to wait for more of them.")] = 2000,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="The server runs it with TensorRT.")
    ] = False,
) -> None:
    """Write MODEL and its config.pbtxt, with dynamic batching, for `tritonserver`."""
    source, manifest = read_contract(model)
    config = render_config(source, manifest, batch, wait_us, tensorrt=tensorrt)
    folder = write_repository(out, source, manifest, config)
    typer.echo(f"{folder}: start the server with: tritonserver --model-repository={out}")
    typer.echo('the boxes run it with: runtime = { kind = "triton", url = "HOST:8001" }')
