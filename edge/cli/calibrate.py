"""`edge people calibrate`: how alike two faces must be, from data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from edge.cli.media import PICTURES
from edge.cli.options import (
    EMBEDDER,
    FACES,
    GALLERY,
    KEY,
    AsJson,
    EmbedderName,
    FacesName,
    GalleryPath,
    KeyPath,
    identity,
    load_models,
)
from edge.errors import ConfigError
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.recognition.face_quality import LOOK
from edge.people.recognition.threshold import Calibration, Tail, impostors
from edge.ports import FaceFinder
from edge.types import F32


def calibrate(
    strangers: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="DIR/NAME/*.jpg of people not enrolled."),
    ],
    fpir: Annotated[
        float, typer.Option(min=1e-4, max=0.2, help="Share of looks at strangers let through.")
    ] = 0.01,
    people: Annotated[int, typer.Option(min=0, help="Size of the gallery; 0 is as it stands.")] = 0,
    strangers_per_day: Annotated[
        float, typer.Option("--per-day", min=0, help="Strangers that pass your cameras in a day.")
    ] = 1000,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: EmbedderName = EMBEDDER,
    faces: FacesName = FACES,
    as_json: AsJson = False,
) -> None:
    """Measure the threshold for names, and store it in the gallery.

    The daemon takes it over within a second, and raises it as the gallery grows.
    """
    finder, described = load_models(faces, embedder)
    groups = _embedded(strangers, finder, described, quiet=as_json)
    with Gallery(gallery, load_key(key), identity(described)) as opened:
        index = opened.index()
        calibration = Calibration(Tail.of(impostors(index, groups)), fpir)
        opened.set_calibration(calibration.values())
    count = people or len(index)
    threshold = calibration.threshold(count)
    answer = {
        "threshold": round(threshold, 4),
        "people": count,
        "fpir": fpir,
        "fpir_of_model_threshold": calibration.fpir_of(described.threshold, count),
        "comparisons": calibration.tail.comparisons,
        "false_alarms_per_day_at_most": round(strangers_per_day * fpir, 3),
    }
    if as_json:
        typer.echo(json.dumps(answer))
        return
    typer.echo(
        f"threshold {threshold:.3f} for {count} people: a look at a stranger comes near enough in "
        f"{fpir:.2%} of cases, by {calibration.tail.comparisons} comparisons\n"
        f"of {strangers_per_day:g} strangers a day at most {strangers_per_day * fpir:.3g} would be "
        "named, if one look were enough; several must agree"
    )


def _embedded(
    folder: Path, finder: FaceFinder, embedder: ContractEmbedder, *, quiet: bool
) -> list[F32]:
    """``(t, D)`` of each person's usable pictures.

    Raises:
        ConfigError: there is nobody.
    """
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    if not people:
        raise ConfigError(f"--strangers {folder}: has no folder for each person: DIR/NAME/*.jpg")
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    groups = []
    for person in track(people, "strangers", console=console, transient=True, disable=hidden):
        crops = []
        for photo in sorted(p for p in person.iterdir() if p.suffix.lower() in PICTURES):
            try:
                crops.append(read_face(finder, photo, LOOK).crop)
            except PhotoError:
                continue  # a picture like this would not be compared either
        if crops:
            groups.append(embedder.embed(np.stack(crops)))
    return groups
