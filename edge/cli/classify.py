"""`edge classify`: say which class pictures are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from edge import plugins
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError, EdgeError
from edge.models.classifier import ContractClassifier
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.ports import Detector, FaceFinder
from edge.types import F32, Frame, Picture
from edge.vision.image_file import read_picture


def classify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PICTURE", exists=True, help="Pictures, and folders.")
    ],
    model: Annotated[str, typer.Option(help="Classifier: a file, zoo:NAME or catalog:NAME.")],
    detector: Annotated[
        str, typer.Option(help="Classify the objects that this detector finds, not whole pictures.")
    ] = "",
    faces: Annotated[
        str, typer.Option(help="Classify the faces that this face detector finds.")
    ] = "",
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of objects and faces.")
    ] = 0.5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per picture, object or face.")
    ] = False,
) -> None:
    """Classify whole pictures, or what is found in them, and print the probabilities.

    The exit status is 0 when at least one file could be read, else 1.
    """
    runtime, base = plugins.create("runtimes", {"kind": "onnx"}), Path()
    classifier = load_model("classify", runtime, resolve_model(model, base))
    finders = Finders(
        load_model("detect", runtime, resolve_model(detector, base)) if detector else None,
        load_model("faces", runtime, resolve_model(faces, base)) if faces else None,
        min_score,
    )
    where = ("box",) if detector or faces else ()
    table = make_table("picture", *where, "class", "probability")
    read = 0
    for path in _list_pictures(paths):
        try:
            picture = read_picture(path)
        except EdgeError as error:
            typer.echo(f"{path}: {error.problem}", err=True)
            continue
        read += 1
        for label, xyxy in finders.locate(picture):
            found = _ask(classifier, picture, xyxy)
            place = [round(side, 1) for side in xyxy.tolist()]
            if as_json:
                box = {"label": label, "box": place} if where else {}
                typer.echo(json.dumps({"file": str(path), **box, "probabilities": found}))
                continue
            said = _choose(classifier, found)
            shown = [f"{label} {' '.join(f'{side:.0f}' for side in place)}"] if where else []
            table.add_row(
                to_cell(str(path)), *map(to_cell, shown), to_cell(", ".join(said) or "none"),
                ", ".join(f"{found[name]:.3f}" for name in said),
            )  # fmt: skip
    if not as_json and read:
        Console().print(table)
    raise typer.Exit(0 if read else 1)


@dataclass(frozen=True, slots=True)
class Finders:
    """What finds the parts of a picture that are classified; without any, the whole is one.

    Attributes:
        min_score: Score from which a find counts.
    """

    detector: Detector | None
    faces: FaceFinder | None
    min_score: float

    def locate(self, picture: Picture) -> Iterator[tuple[str, F32]]:
        """Label and box ``(4,)`` of each part."""
        frame = Frame("", 0, 0, 0.0, 0.0, picture)
        if self.detector:
            [objects] = self.detector.detect([frame])
            for row in np.flatnonzero(objects.score >= self.min_score):
                yield self.detector.classes[objects.class_id[row]], objects.xyxy[row]
        if self.faces:
            [faces] = self.faces.find([frame])
            for row in np.flatnonzero(faces.score >= self.min_score):
                yield "face", faces.xyxy[row]
        if not (self.detector or self.faces):
            yield "", np.array([0, 0, *picture.size_wh], np.float32)


def _list_pictures(paths: list[Path]) -> list[Path]:
    """The files as given; of folders, what lies in them."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        found += inside
    if not found:
        raise ConfigError("no picture: name files, or folders with some")
    return found


def _ask(classifier: ContractClassifier, picture: Picture, xyxy: F32) -> dict[str, float]:
    """Probabilities by class; none where the model gives what cannot be true."""
    [row] = classifier.classify(classifier.cut(picture, xyxy)[None])
    if not np.isfinite(row).all():
        return {}
    return {name: round(float(p), 6) for name, p in zip(classifier.classes, row, strict=True)}


def _choose(classifier: ContractClassifier, found: dict[str, float]) -> list[str]:
    """The most probable class, or the independent labels that hold."""
    if classifier.independent:
        return [name for name, probability in found.items() if probability >= 0.5]
    return [max(found, key=lambda name: found[name])] if found else []
