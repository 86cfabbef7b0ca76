"""`edge-deploy triton`: a model repository for a Triton server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.terminal import read_contract
from deploy.triton import render_config, write_repository
from edge.output_path import check_output_folder


def triton_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Contract model, or zoo:NAME.")],
    out: Annotated[Path, typer.Option(help="Model repository of the server.")],
    batch: Annotated[int, typer.Option(min=1, help="Largest batch, across all clients.")] = 32,
    wait_us: Annotated[
        int, typer.Option(min=0, help="Microseconds to wait for a fuller batch.")
    ] = 2000,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Let the server run it with TensorRT.")
    ] = False,
) -> None:
    """Write MODEL and its config.pbtxt, with dynamic batching, for `tritonserver`."""
    check_output_folder(out, "--out")
    source, manifest = read_contract(model)
    config = render_config(source, manifest, batch, wait_us, tensorrt=tensorrt)
    folder = write_repository(out, source, manifest, config)
    typer.echo(f"{folder}: start the server with: tritonserver --model-repository={out}")
    typer.echo('clients run it with: runtime = { kind = "triton", url = "HOST:8001" }')
