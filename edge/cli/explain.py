"""`edge explain`: show what a model's answer rests on, by covering the picture patch by patch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edge import plugins
from edge.config import Tracking
from edge.errors import ConfigError, SourceError
from edge.manifest import Manifest
from edge.models import occlusion
from edge.models.contract import load_model, read_task_manifest
from edge.models.occlusion import Ask, Occlusion
from edge.models.paths import resolve_model
from edge.output_path import check_output_file
from edge.ports import Runtime
from edge.types import F32, Frame, RgbPicture
from edge.vision.draw import draw, require_format, save_picture
from edge.vision.heat_map import overlay
from edge.vision.image_file import read_picture

_WHOLE = 0.999  # of a picture's area: a box is the picture
_LEAST_SCORE = 0.05
_CLOSE = 0.1  # above the model's threshold: a weak find
_SURE = 0.25  # score from which the find nearest to a point is taken


def explain(
    path: Annotated[Path, typer.Argument(metavar="PICTURE", help="Picture that was looked at.")],
    model: Annotated[
        str,
        typer.Option(help="Detector, face detector or classifier: a file, zoo:NAME, catalog:NAME."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Picture to write; else PICTURE-why.jpg in the current folder."
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--object", min=1, help="Explain the N-th find by falling score, not the 1st."
        ),
    ] = None,
    at: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Instead, explain the find nearest to X Y, from 0 0 to 1 1 at the lower right."
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--class", help="Explain this class; else the surest answer.")
    ] = "",
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Longest time.")] = 20.0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 is one per core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show which parts of PICTURE the answer of a model rests on.

    A gray patch is moved over the picture; where it lowers the score, the model had looked. Works
    with every model file, trained by us or not.
    """
    if number is not None and at is not None:
        raise ConfigError("--object and --at both choose a find: give one of them")
    if at is not None and not all(0 <= share <= 1 for share in at):
        raise ConfigError(f"--at must be two numbers from 0 to 1, got {at[0]:g} {at[1]:g}")
    target = out or Path(f"{path.stem}-why.jpg")
    check_output_file(target, "--out", path)
    require_format(target)
    file = resolve_model(model, Path())
    manifest = read_task_manifest(file)
    if manifest.task == "classify" and (number is not None or at is not None):
        raise ConfigError("a classifier answers for the whole picture: leave --object and --at out")
    picture = occlusion.shrink(_read(path))
    point = None if at is None else np.array(at, np.float32) * picture.size_wh
    runtime = plugins.create("runtimes", {"kind": "onnx", "workers": 1, "threads": threads})
    said, xyxy, ask = _choose(file, manifest.task, runtime, picture, label, number or 1, point)
    whole = bool(np.prod(xyxy[2:] - xyxy[:2]) > _WHOLE * np.prod(picture.size_wh))
    found = occlusion.explain(ask, picture, said, xyxy, whole=whole, budget_s=seconds)
    weakness = describe_weakness(manifest, found.score)
    save_picture(draw_occlusion(picture, found, boxed=not whole), target)
    inside = found.share_inside()
    if as_json:
        answer = {
            "label": found.label, "score": round(found.score, 4), "weak": bool(weakness),
            "box": [round(float(side), 1) for side in xyxy],
            "largest_loss": round(float(found.heat.max()), 4),
            "inside": None if math.isnan(inside) else round(inside, 4),
            "patches": found.asked, "planned": found.planned, "picture": str(target),
        }  # fmt: skip
        typer.echo(json.dumps(answer))
        return
    share = "nothing lowers it" if math.isnan(inside) else f"{inside:.0%} of the loss in its box"
    typer.echo(
        f"{found.label} {found.score:.2f}: a patch lowers it by up to {found.heat.max():.2f}; "
        f"{share}; {found.asked} of {found.planned} patches"
    )
    if weakness:
        typer.echo(weakness)
    typer.echo(target)


def describe_weakness(manifest: Manifest, score: float) -> str:
    """What is said of a find that the daemon or the model would hardly report; empty for others."""
    starts = Tracking().high_score
    if manifest.task == "detect" and score < starts:
        return f"this find is weak: cameras start a track at {starts:g} (tracking.high_score)"
    if manifest.task != "classify" and score < manifest.score_threshold + _CLOSE:
        return f"this find is weak: the model reports none below {manifest.score_threshold:g}"
    return ""


def _read(path: Path) -> RgbPicture:
    """The picture.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return read_picture(path)
    except SourceError as error:
        raise ConfigError(f"{error.problem}: name a picture", file=path) from error


def draw_occlusion(picture: RgbPicture, found: Occlusion, *, boxed: bool = True) -> np.ndarray:
    """The picture with the heat map, and the box unless it is the picture."""
    colored = overlay(picture.rgb, found.spread(picture.size_wh))
    boxes = found.xyxy[None] if boxed else np.zeros((0, 4), np.float32)
    labels = [f"{found.label} {found.score:.2f}"] if boxed else []
    nobody = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    return draw(colored, boxes, labels, *nobody)


def _choose(
    file: Path, task: str, runtime: Runtime, picture: RgbPicture, label: str, number: int,
    point: F32 | None,
) -> tuple[str, F32, Ask]:  # fmt: skip
    """What is explained: its name, where it is, and how the model is asked about it."""
    frame = Frame("", 0, 0, 0.0, 0.0, picture)
    if task == "classify":
        classifier = load_model("classify", runtime, file)
        whole = np.array([0, 0, *picture.size_wh], np.float32)
        [row] = np.nan_to_num(classifier.classify(classifier.cut(picture, whole)[None]))
        name = label or classifier.classes[int(row.argmax())]
        class_id = _find_class(classifier.classes, name)
        return name, whole, occlusion.ask_classifier(classifier, whole, class_id)
    if task == "detect":
        detector = load_model("detect", runtime, file)
        wanted = _find_class(detector.classes, label) if label else None
        [found] = detector.detect([frame])
        found = found[(found.class_id == wanted) if label else found.score >= _LEAST_SCORE]
        row_number = _pick(found.xyxy, found.score, number, point, label or "object")
        class_id, xyxy = int(found.class_id[row_number]), found.xyxy[row_number]
        ask = occlusion.ask_detector(detector, xyxy, class_id)
        return detector.classes[class_id], xyxy, ask
    if task == "faces":
        finder = load_model("faces", runtime, file)
        [faces] = finder.find([frame])
        xyxy = faces.xyxy[_pick(faces.xyxy, faces.score, number, point, "face")]
        return "face", xyxy, occlusion.ask_faces(finder, xyxy)
    raise ConfigError(
        f"this is a model of the task {task}, which is asked of faces, not of pictures: give a "
        "detector, face detector or classifier",
        file=file,
    )


def _find_class(classes: Sequence[str], name: str) -> int:
    if name not in classes:
        some = ", ".join(classes[:12]) + (" .." if len(classes) > 12 else "")
        raise ConfigError(f"--class {name}: the model knows {some}")
    return list(classes).index(name)


def _pick(xyxy: F32, score: F32, number: int, point: F32 | None, what: str) -> int:
    """The row of the N-th find by falling score, or of the sure one nearest to a point."""
    if point is not None and len(score):
        sure = np.flatnonzero(score >= min(_SURE, float(score.max())))
        middle = (xyxy[sure, :2] + xyxy[sure, 2:]) / 2
        return int(sure[np.argmin(np.hypot(*(middle - point).T))])
    if not len(score):
        raise ConfigError(f"the model finds no {what} in this picture: there is nothing to explain")
    if number > len(score):
        raise ConfigError(
            f"the model finds {what} {len(score)} times in this picture, weak finds counted: there "
            f"is no number {number}"
        )
    return int(np.argsort(-score, kind="stable")[number - 1])
