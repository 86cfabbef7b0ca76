"""The command line of model work: `edge-deploy`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from deploy.adopt.adopt import Adoption
from deploy.adopt.class_list import read_class_list
from deploy.adopt.dlib_dat import THRESHOLD as DLIB_THRESHOLD
from deploy.adopt.families import FAMILIES, NORMALIZATIONS, YOLO_LAYOUTS
from deploy.adopt.minifasnet import FAMILY as MINIFASNET
from deploy.adopt.minifasnet import adopt_minifasnet
from deploy.adopt.trial import TrialPictures, adopt_tried
from deploy.commands import build, quantize
from deploy.commands import engines as engines_commands
from deploy.commands.bench import bench_command
from deploy.commands.terminal import USES, read_contract, require_training_extra, write_model
from deploy.commands.triton import triton_command
from deploy.commands.verify import verify_command
from deploy.export.side import AsDetector
from deploy.graph.manifest import Provenance, read_manifest
from deploy.graph.nms import Nms, NmsOverrides
from edge.cli.application import application, deprecated_options
from edge.errors import ConfigError, EdgeError, locate
from edge.manifest import Manifest, read_model
from edge.models.paths import resolve_model
from edge.output_path import check_output_file
from edge.printable import format_count
from trainers.keras_import import load_keras
from trainers.run.folder import RunFolder
from trainers.run.tell import tell_notes

app = application("Turn trained and foreign networks into models of the Edgewatch contract.")
app.command("build", cls=build.RENAMED)(build.build_command)
app.add_typer(engines_commands.app, name="engines")

RENAMED = deprecated_options({"--input": "--input-size"})


@app.command("adopt", cls=RENAMED)
def adopt_command(
    file: Annotated[Path, typer.Argument(help="Foreign ONNX file, or a network saved by dlib.")],
    family: Annotated[str, typer.Option(help=f"One of {', '.join((*FAMILIES, MINIFASNET))}.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; FILE.edge.onnx by default.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Model name in messages; by default that of the file.")
    ] = "",
    classes: Annotated[
        str,
        typer.Option(
            help="Class names in the network's order, separated by commas, or a file with one per "
            "line; by default those of the file's metadata, `face`, or COCO's where it has 80."
        ),
    ] = "",
    keep: Annotated[str, typer.Option(help="Report only these classes, separated by commas.")] = "",
    size: Annotated[
        str, typer.Option("--input-size", help="Input size of the network, say 320x320.")
    ] = "",
    score: Annotated[float, typer.Option(help="Drop rows below this score.")] = 0.1,
    iou: Annotated[float, typer.Option(help="IoU threshold of NMS.")] = 0.65,
    rows: Annotated[int, typer.Option(help="Number of output rows.")] = 100,
    candidates: Annotated[int, typer.Option(help="Number of boxes that take part in NMS.")] = 256,
    layout: Annotated[
        str,
        typer.Option(
            help=f"Layout of a yolo output, {', '.join(YOLO_LAYOUTS)}; derived from its shape."
        ),
    ] = "",
    normalize: Annotated[
        str,
        typer.Option(
            help=f"Values that the network takes, {', '.join(NORMALIZATIONS)}; by default as its "
            "family, metadata or first nodes say."
        ),
    ] = "",
    color: Annotated[
        str, typer.Option(help="Order of its channels, rgb or bgr; by default the family's.")
    ] = "",
    pictures: Annotated[
        list[Path] | None,
        typer.Option(help="Picture or folder that shows what it must find; repeatable."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Adopt although the trial on pictures contradicts.")
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(
            help="Embedders: similarity from which two faces are the same person; by default 0.4, "
            f"for dlib {DLIB_THRESHOLD}."
        ),
    ] = 0,
    second: Annotated[
        Path | None, typer.Option(help="Minifasnet: the network for crops of 4.0 times the face.")
    ] = None,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights.")] = "unknown",  # noqa: A002
    trained_on: Annotated[str, typer.Option(help="Description of the training data.")] = "unknown",
) -> None:
    """Wrap FILE so that `edge run` can use it: decoding and NMS go into the graph.

    Class names, task and values are read from the file's metadata; the result is tested on drawn
    faces, a photograph and --pictures, and refused where it finds nothing or another convention
    does clearly better.
    """
    if family not in (*FAMILIES, MINIFASNET):
        known = ", ".join((*FAMILIES, MINIFASNET))
        raise ConfigError(f"--family {family} is unknown: use one of {known}")
    if second and family != MINIFASNET:
        raise ConfigError(f"--second is only for --family {MINIFASNET}: leave it out")
    name = name or _fit_name(file.stem)
    target = out or file.with_suffix(".edge.onnx")
    check_output_file(target, "--out", file, *([second] if second else ()))
    if family == MINIFASNET:
        networks = [read_model(part) for part in (file, second) if part]
        with locate(file=file):
            adopted = adopt_minifasnet(networks, name, license=license, trained_on=trained_on)
        write_model(target, adopted, USES["liveness"])
        return
    options = Adoption(
        family=family,
        name=name,
        classes=read_class_list(classes),
        keep=tuple(part.strip() for part in keep.split(",") if part.strip()),
        input_wh=_size(size),
        nms=Nms(score, iou, rows, candidates),
        license=license,
        trained_on=trained_on,
        threshold=threshold or (DLIB_THRESHOLD if family == "dlib" else 0.4),
        layout=layout,
        normalize=normalize,
        color=color,
    )
    options.check()
    foreign, shown = read_model(file), TrialPictures.read(pictures or [])
    tell_notes(shown.notes)
    with locate(file=file):
        adopted = adopt_tried(foreign, options, shown, force=force)
    _show_findings(read_manifest(adopted, str(target)))
    write_model(target, adopted, USES[FAMILIES[family].task])


@app.command("export", cls=RENAMED)
def export_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL", help="Run folder of edge-train, or a model exported from one."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write; RUN/NAME.onnx by default.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Model name in messages; by default that of the folder.")
    ] = "",
    size: Annotated[
        str, typer.Option("--input-size", help="Input size; the trained one by default.")
    ] = "",
    score: Annotated[
        float | None, typer.Option(help="Drop rows below this score; 0.1, faces 0.5.")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(help="IoU threshold of NMS; 0.65, faces 0.45.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Number of output rows.")] = 100,
    candidates: Annotated[int, typer.Option(help="Number of boxes that take part in NMS.")] = 256,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights.")] = "unknown",  # noqa: A002
    trained_on: Annotated[
        str, typer.Option(help="Description of the training data; the run's folders by default.")
    ] = "",
    as_detector: Annotated[
        bool,
        typer.Option("--as-detector", help="Of a classifier, make a detector of its windows."),
    ] = False,
    side: Annotated[
        str,
        typer.Option(
            help="With --as-detector: sides of the windows in pixels of the input, say 64,96 or "
            "48x96; the classifier's input by default."
        ),
    ] = "",
    background: Annotated[
        str, typer.Option(help="With --as-detector: the class that is no object.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Export a network that found nothing in validation.")
    ] = False,
) -> None:
    """Export the best network of a training run as a contract model.

    Of a model with boxes that was exported before, or zoo:NAME, make one with another --input-size,
    score or rows: what a 16:9 camera sees fills 416x256 and costs five eighths of 416x416.
    With --as-detector a classifier judges all windows of a picture (416x416) in one pass.
    """
    choice, run = NmsOverrides(score, iou, rows, candidates), Path(source)
    if (side or background) and not as_detector:
        raise ConfigError("--side and --background are for --as-detector: add it, or leave them")
    asked = AsDetector.parse(side, background) if as_detector else None
    wanted_wh, is_model = _size(size), source.startswith("zoo:") or run.suffix == ".onnx"
    if not (is_model or run.is_dir()):
        raise ConfigError(f"{run} does not exist: name a run folder of edge-train, or a model")
    if is_model and as_detector:
        raise ConfigError("--as-detector takes the run folder of a classifier, not a model")
    if is_model:
        path = resolve_model(source, Path.cwd())
        _, manifest = read_contract(source)
        shape = "x".join(map(str, wanted_wh)) if size else "again"
        name = name or f"{manifest.name}-{shape}"
        target = out or Path(f"{name}.onnx")
        check_output_file(target, "--out", path)
        _load_keras()
        from deploy.export.detector import export_again

        model, task = export_again(path, manifest, choice, name, wanted_wh)
        write_model(target, model, USES[task])
        return
    folder = RunFolder.open(run)
    if not force:
        _refuse_blind(folder)
    provenance = Provenance(name or _fit_name(run.resolve().name), license, trained_on)
    target = out or run / f"{provenance.name}.onnx"
    check_output_file(target, "--out", folder.best)
    _load_keras()
    from deploy.export.detector import export_run

    model, task = export_run(folder, choice, provenance, wanted_wh, asked)
    write_model(target, model, USES[task])


app.command("bench")(bench_command)
app.command("quantize", cls=quantize.RENAMED)(quantize.quantize_command)
app.command("triton")(triton_command)
app.command("verify")(verify_command)


def _load_keras() -> None:
    with require_training_extra():
        load_keras()


def _refuse_blind(run: RunFolder) -> None:
    """Raise for a run whose best network found nothing of what is labeled."""
    path = run.path / "metrics.json"
    metrics = run.read(path.name) if path.is_file() else {}
    if metrics.get("ap50") == 0:
        raise EdgeError(
            f"the best network of {run.path} found nothing in validation (AP50 0): check the data "
            "with `edge-train check`, train longer, or use --force"
        )


def _fit_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64]


def _show_findings(manifest: Manifest) -> None:
    """What adoption found out and chose."""
    names = ", ".join(manifest.classes[:5]) + (", ..." if len(manifest.classes) > 5 else "")
    if manifest.classes:
        typer.echo(f"{format_count(len(manifest.classes), 'class', 'classes')}: {names}")
    place = {
        "top_left": "letterboxed to the top left",
        "center": "letterboxed to the center",
        "stretch": "stretched",
    }
    typer.echo(
        f"input: {manifest.input_wh[0]}x{manifest.input_wh[1]}, {manifest.color.upper()}, "
        f"pixel values (x - {manifest.mean[0]:g}) * {manifest.scale[0]:.5g}, "
        f"{place[manifest.letterbox_align]}, resampling {manifest.resampling}"
        f"{f', layout {manifest.layout}' * bool(manifest.layout)}"
    )
    for proof in manifest.proofs:
        typer.echo(proof)


def _size(text: str) -> tuple[int, int]:
    if not text:
        return (0, 0)
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise ConfigError(f"--input-size {text}: must be WIDTHxHEIGHT, say 320x320")
    return int(width), int(height)
