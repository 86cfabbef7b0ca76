"""`edge people calibrate`: measure how similar two faces must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from edge.cli import options
from edge.cli.media import PICTURES
from edge.cli.options import AsJson, load_models, open_gallery
from edge.errors import ConfigError
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.recognition.face_quality import LOOK
from edge.people.recognition.threshold import Calibration, Tail, compare_strangers
from edge.ports import FaceFinder
from edge.types import F32


def calibrate(
    strangers: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Photos of people who are not enrolled: DIR/NAME/*.jpg.",
        ),
    ],
    fpir: Annotated[
        float, typer.Option(min=1e-4, max=0.2, help="False-positive identification rate per look.")
    ] = 0.01,
    people: Annotated[
        int, typer.Option(min=0, help="Size of the gallery (0: its present size).")
    ] = 0,
    strangers_per_day: Annotated[
        float,
        typer.Option(
            "--per-day", min=0, help="People who are not enrolled and pass your cameras per day."
        ),
    ] = 1000,
    gallery: options.GalleryPath = options.GALLERY,
    key: options.KeyPath = options.KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
    as_json: AsJson = False,
) -> None:
    """Measure the similarity threshold for names and store it in the gallery.

    The daemon adopts it within a second and raises it as the gallery grows.
    """
    finder, model = load_models(faces, embedder)
    groups = _embed_people(strangers, finder, model, quiet=as_json)
    with open_gallery(gallery, key, model) as opened:
        index = opened.index()
        calibration = Calibration(Tail.fit_conservatively(compare_strangers(index, groups)), fpir)
        opened.set_calibration(calibration.values())
    count = people or len(index)
    threshold = calibration.threshold(count)
    answer = {
        "threshold": round(threshold, 4),
        "people": count,
        "fpir": fpir,
        "fpir_of_model_threshold": calibration.estimate_fpir(model.threshold, count),
        "comparisons": calibration.tail.comparisons,
        "false_alarms_per_day_at_most": round(strangers_per_day * fpir, 3),
    }
    if as_json:
        typer.echo(json.dumps(answer))
        return
    typer.echo(
        f"threshold {threshold:.3f} for {count} people: {fpir:.2%} of the looks at strangers "
        f"exceed it, estimated from {calibration.tail.comparisons} comparisons\n"
        f"of {strangers_per_day:g} strangers per day at most {strangers_per_day * fpir:.3g} would "
        "be named if one look were enough; several must agree"
    )


def _embed_people(
    folder: Path, finder: FaceFinder, embedder: ContractEmbedder, *, quiet: bool
) -> list[F32]:
    """``(T, D)`` embeddings of each person's usable photos.

    Raises:
        ConfigError: The folder has no people.
    """
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    if not people:
        raise ConfigError(
            f"--strangers {folder} must have a folder per person, DIR/NAME/*.jpg, but has none"
        )
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    groups = []
    for person in track(people, "strangers", console=console, transient=True, disable=hidden):
        crops = []
        for photo in sorted(p for p in person.iterdir() if p.suffix.lower() in PICTURES):
            try:
                crops.append(read_face(finder, photo, LOOK).crop)
            except PhotoError:
                continue  # the daemon would not compare such a picture either
        if crops:
            groups.append(embedder.embed(np.stack(crops)))
    return groups
