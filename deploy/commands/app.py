"""The command line of model work: `edge-deploy`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from deploy.adopt.adopt import Adoption, adopt
from deploy.adopt.coco_classes import COCO
from deploy.adopt.families import FAMILIES, YOLO_LAYOUTS
from deploy.adopt.minifasnet import FAMILY as MINIFASNET
from deploy.adopt.minifasnet import adopt_minifasnet
from deploy.commands import engines as engines_commands
from deploy.commands import quantize
from deploy.commands.bench import bench_command
from deploy.commands.build import build_command
from deploy.commands.terminal import USES, read_contract, require_training_extra, write_model
from deploy.commands.triton import triton_command
from deploy.commands.verify import verify_command
from deploy.graph.manifest import Provenance
from deploy.graph.nms import Nms, NmsOverrides
from edge.cli.application import application
from edge.errors import ConfigError, locate
from edge.manifest import read_model
from edge.models.paths import resolve_model
from trainers.keras_import import load_keras

app = application("Turns trained and foreign networks into models of the Edgewatch contract.")
app.command("build")(build_command)
app.add_typer(engines_commands.app, name="engines")


@app.callback()
def _group() -> None:
    pass


@app.command("adopt")
def adopt_command(
    file: Annotated[Path, typer.Argument(help="A foreign ONNX file.")],
    family: Annotated[str, typer.Option(help=f"One of {', '.join((*FAMILIES, MINIFASNET))}.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; FILE.edge.onnx.")] = None,
    name: Annotated[str, typer.Option(help="Name on the wire; the file's.")] = "",
    classes: Annotated[
        str,
        typer.Option(
            help="The network's class names in its order, with commas, or a file with one a line; "
            "none: the 80 of COCO, or `face`."
        ),
    ] = "",
    keep: Annotated[str, typer.Option(help="Report only these classes, with commas.")] = "",
    size: Annotated[str, typer.Option("--input", help="Network input, say 320x320.")] = "",
    score: Annotated[float, typer.Option(help="Rows below it are dropped.")] = 0.1,
    iou: Annotated[float, typer.Option(help="NMS threshold.")] = 0.65,
    rows: Annotated[int, typer.Option(help="Rows of the output, K.")] = 100,
    candidates: Annotated[int, typer.Option(help="Boxes that take part in NMS.")] = 256,
    layout: Annotated[
        str,
        typer.Option(
            help=f"Of a yolo output, {', '.join(YOLO_LAYOUTS)}; without it, its shape tells."
        ),
    ] = "",
    threshold: Annotated[
        float, typer.Option(help="Embedders: from this similarity on two faces are one person's.")
    ] = 0.4,
    second: Annotated[
        Path | None, typer.Option(help="minifasnet: the network for crops 4.0 times the face.")
    ] = None,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights.")] = "unknown",  # noqa: A002
    trained_on: Annotated[str, typer.Option(help="Data it was trained on.")] = "unknown",
) -> None:
    """Wrap FILE so that `edge run` can use it: decoding and NMS go into the graph."""
    if family not in (*FAMILIES, MINIFASNET):
        known = ", ".join((*FAMILIES, MINIFASNET))
        raise ConfigError(f"--family {family}: unknown, use one of {known}")
    if second and family != MINIFASNET:
        raise ConfigError(f"--second: is for --family {MINIFASNET}, leave it out")
    name = name or _fit_name(file.stem)
    target = out or file.with_suffix(".edge.onnx")
    if family == MINIFASNET:
        networks = [read_model(part) for part in (file, second) if part]
        with locate(file=file):
            adopted = adopt_minifasnet(networks, name, license=license, trained_on=trained_on)
        write_model(target, adopted, USES["liveness"])
        return
    options = Adoption(
        family=family,
        name=name,
        classes=_class_names(classes, family),
        keep=tuple(part.strip() for part in keep.split(",") if part.strip()),
        input_wh=_size(size),
        nms=Nms(score, iou, rows, candidates),
        license=license,
        trained_on=trained_on,
        threshold=threshold,
        layout=layout,
    )
    foreign = read_model(file)
    with locate(file=file):
        adopted = adopt(foreign, options)
    write_model(target, adopted, USES[FAMILIES[family].task])


@app.command("export")
def export_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL", help="A run folder of edge-train, or what was exported of one."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/NAME.onnx.")] = None,
    name: Annotated[str, typer.Option(help="Name on the wire; the folder's.")] = "",
    size: Annotated[str, typer.Option("--input", help="Network input; as it was trained.")] = "",
    score: Annotated[
        float | None, typer.Option(help="Rows below it are dropped; 0.1, of faces 0.5.")
    ] = None,
    iou: Annotated[float | None, typer.Option(help="NMS threshold; 0.65, of faces 0.45.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of the output, K.")] = 100,
    candidates: Annotated[int, typer.Option(help="Boxes that take part in NMS.")] = 256,
    license: Annotated[str, typer.Option(help="SPDX identifier of the weights.")] = "unknown",  # noqa: A002
    trained_on: Annotated[str, typer.Option(help="Data in words; the run's folders.")] = "",
) -> None:
    """Make a contract model of the best network of a training run.

    Of a model with boxes that was exported before, or zoo:NAME, make one with another --input,
    score or rows: what a 16:9 camera sees fills 416x256 and costs five eighths of 416x416.
    """
    with require_training_extra():
        load_keras()
        from deploy.export.detector import export_again, export_run
        from trainers.run.folder import RunFolder

    choice, run = NmsOverrides(score, iou, rows, candidates), Path(source)
    if source.startswith("zoo:") or run.suffix == ".onnx":
        path = resolve_model(source, Path.cwd())
        _, manifest = read_contract(source)
        shape = "x".join(map(str, _size(size))) if size else "again"
        name = name or f"{manifest.name}-{shape}"
        model, task = export_again(path, manifest, choice, name, _size(size))
        write_model(out or Path(f"{name}.onnx"), model, USES[task])
        return
    provenance = Provenance(name or _fit_name(run.resolve().name), license, trained_on)
    model, task = export_run(RunFolder.open(run), choice, provenance, _size(size))
    write_model(out or run / f"{provenance.name}.onnx", model, USES[task])


app.command("bench")(bench_command)
app.command("quantize", cls=quantize.RENAMED)(quantize.quantize_command)
app.command("triton")(triton_command)
app.command("verify")(verify_command)


def _fit_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:64]


def _class_names(text: str, family: str) -> tuple[str, ...]:
    if FAMILIES[family].task == "embed":
        return ()
    if not text:
        return ("face",) if family in ("yunet", "ultraface") else COCO
    if Path(text).is_file():
        lines = Path(text).read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    return tuple(part.strip() for part in text.split(","))


def _size(text: str) -> tuple[int, int]:
    if not text:
        return (0, 0)
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise ConfigError(f"--input {text}: must be WIDTHxHEIGHT, say 320x320")
    return int(width), int(height)
