"""`edge-deploy verify`: whether a model gives the same outputs in every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.terminal import read_contract, require_training_extra, show_progress
from deploy.verify.comparison import SLACK, ComparisonReport
from deploy.verify.verify import list_pictures, open_engines, verify
from edge.errors import ConfigError, EdgeError
from edge.onnxfile import metadata_of, precision_of
from trainers.keras_import import load_keras
from trainers.run.tell import tell_notes


def verify_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Contract model, or zoo:NAME.")],
    run: Annotated[
        Path | None, typer.Option(help="Training run that the model was exported from.")
    ] = None,
    pictures: Annotated[
        list[Path] | None, typer.Option(help="Picture or folder of pictures; repeatable.")
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="Boxes that take part in NMS, as in the export.")
    ] = 256,
    triton: Annotated[
        str, typer.Option(help="Address of a Triton server with the model, HOST:8001.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the outputs of Keras, ONNX Runtime and every available engine on pictures.

    Exit 1 when a box or point differs by more than 0.5 px, a score or probability by more than
    0.001 or an embedding by a cosine of 0.001, or when nothing is found that could be compared; a
    model in FP16 may differ by 8 times as much, one in INT8 by 16 times.
    """
    files, notes = list_pictures(pictures or [])
    tell_notes(notes)
    if run is not None and not run.is_dir():
        raise ConfigError(f"--run {run} does not exist: name a run folder of edge-train")
    source, manifest = read_contract(model)
    reference = None
    if run is not None:
        with require_training_extra():
            load_keras()
            from deploy.export.windows import WINDOWS
            from deploy.verify.keras_reference import load_reference
            from trainers.run.folder import RunFolder

        windows = metadata_of(source).get(WINDOWS, "")
        reference = load_reference(RunFolder.open(run), manifest, candidates, windows)
    with open_engines(source, model, reference, triton) as engines:
        if len(engines.infer) < 2:
            skipped = "".join(f"\n  {engine}: {why}" for engine, why in engines.skipped.items())
            raise ConfigError(
                f"only {', '.join(engines.infer)} can run {model} here, which leaves nothing to "
                f"compare: name its training run with --run, or make another runtime work{skipped}"
            )
        with show_progress("comparing", len(files)) as advance:
            results = verify(manifest, engines.infer, files, advance, SLACK[precision_of(source)])
    report = ComparisonReport(next(iter(engines.infer)), results, engines.skipped)
    typer.echo(report.to_json() if as_json else str(report))
    if report.failed:
        raise typer.Exit(1)
    if report.is_empty:
        raise EdgeError(
            f"nothing was compared: {report.reference} finds nothing in these {len(files)} "
            "pictures; name pictures that show what the model knows with --pictures"
        )
