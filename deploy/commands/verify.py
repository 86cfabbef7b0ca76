"""`edge-deploy verify`: whether a model gives the same outputs in every runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.terminal import read_contract, require_training_extra, show_progress
from deploy.verify.comparison import SLACK, ComparisonReport
from deploy.verify.verify import list_pictures, open_engines, verify
from edge.errors import ConfigError, EdgeError
from edge.manifest import Manifest
from edge.onnxfile import metadata_of, precision_of
from trainers.keras_import import load_keras
from trainers.run.folder import RunFolder
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
    model in FP16 may differ by 8 times as much, one in INT8 by 16 times. Exit 78
    when --run is not the run that the model was exported from.
    """
    files, notes = list_pictures(pictures or [])
    tell_notes(notes)
    if run is not None and not run.is_dir():
        raise ConfigError(f"--run {run} does not exist: name a run folder of edge-train")
    source, manifest = read_contract(model)
    folder = None if run is None else RunFolder.open(run)
    reference = None
    if folder is not None:
        with require_training_extra():
            load_keras()
        from deploy.export.windows import WINDOWS
        from deploy.verify.keras_reference import load_reference

        windows = metadata_of(source).get(WINDOWS, "")
        reference = load_reference(folder, manifest, candidates, windows)
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
    if report.failed and folder is not None:
        _refuse_other_weights(folder, source, manifest)
    if report.failed:
        raise typer.Exit(1)
    if report.is_empty:
        raise EdgeError(
            f"nothing was compared: {report.reference} finds nothing in these {len(files)} "
            "pictures; name pictures that show what the model knows with --pictures"
        )


def _refuse_other_weights(run: RunFolder, model: bytes, manifest: Manifest) -> None:
    """Refuse a run that did not give the model its weights, where the model says whose they are.

    A quantized model names the file it was made of, and one that was exported again the folded
    weights of the first: these say nothing of a run.

    Raises:
        ConfigError: The run has other weights.
    """
    from deploy.export.detector import NETWORK
    from deploy.export.keras_layers import digest

    described = json.loads(metadata_of(model).get(NETWORK, "{}"))
    again = described.get("norm") == "none" != run.read("config.json")["network"].get("norm")
    if manifest.precision != "fp32" or again or not manifest.source_sha256:
        return
    if digest(run.load()) != manifest.source_sha256:
        raise ConfigError(
            f"--run {run.path}: its weights are not those that the model was exported from: name "
            "the run that it was exported from, or export this one again"
        )
