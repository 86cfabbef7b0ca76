"""`edge people calibrate`: measure how similar two faces must be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from edge.cli import options
from edge.cli.gallery_options import GALLERY, KEY, AsJson, GalleryPath, KeyPath
from edge.cli.options import load_models, open_gallery
from edge.cli.people_folder import PeopleFolder
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment.enrollment import RefusedPhoto
from edge.people.enrollment.face_photo import FacePhoto, PhotoError, read_face
from edge.people.fusion import fuse
from edge.people.recognition.face_quality import LOOK
from edge.people.recognition.threshold import Calibration, Tail, compare_tracks
from edge.ports import FaceFinder
from edge.printable import format_count
from edge.types import F32

MIN_PHOTOS = 3  # of a track, as `min_votes` asks for
TRACK_PHOTOS = 4  # or more; more photos in one folder are several tracks


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Usable photos: ``(T, D)`` embeddings and ``(T,)`` quality."""

    embedding: F32
    quality: F32

    def __len__(self) -> int:
        return len(self.quality)


def calibrate(
    strangers: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Photos of people who are not enrolled: DIR/NAME/*.jpg, or a folder per track, "
            "DIR/NAME/TRACK/*.jpg; at least 3 of each person.",
        ),
    ],
    fpir: Annotated[
        float, typer.Option(min=1e-4, max=0.2, help="False-positive identification rate per track.")
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
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
    as_json: AsJson = False,
) -> None:
    """Measure the similarity threshold for names and store it in the gallery.

    The daemon adopts it within a second and raises it as the gallery grows.
    """
    folder = PeopleFolder().read(strangers, "--strangers")
    finder, model = load_models(faces, embedder)
    groups, refused = _embed_people(folder, finder, model, quiet=as_json)
    _tell_passed_over(folder, refused)
    tracks = [rows for rows in map(_fuse_tracks, groups) if len(rows)]
    if few := len(groups) - len(tracks):
        typer.echo(
            f"passed over: {format_count(few, 'person', 'people')} with fewer than {MIN_PHOTOS} "
            "usable photos",
            err=True,
        )
    with open_gallery(gallery, key, model) as opened:
        index = opened.index()
        calibration = Calibration(Tail.fit_conservatively(compare_tracks(index, tracks)), fpir)
        opened.set_calibration(calibration.values())
    size = people or len(index)
    threshold = calibration.threshold(size)
    photo_count = sum(len(photos) for group in groups for photos in group)
    track_count = sum(map(len, tracks))
    answer = {
        "threshold": round(threshold, 4),
        "people": size,
        "fpir": fpir,
        "fpir_of_model_threshold": calibration.estimate_fpir(model.threshold, size),
        "photos": photo_count,
        "tracks": track_count,
        "refused": len(refused),
        "comparisons": calibration.tail.comparisons,
        "false_alarms_per_day_at_most": round(strangers_per_day * fpir, 3),
    }
    if as_json:
        typer.echo(json.dumps(answer))
        return
    typer.echo(
        f"threshold {threshold:.3f} for {format_count(size, 'person', 'people')}: {fpir:.2%} of "
        "the tracks of strangers exceed it with all looks fused, estimated from "
        f"{format_count(calibration.tail.comparisons, 'comparison')} of "
        f"{format_count(track_count, 'track')}, {format_count(photo_count, 'photo')}, "
        f"{len(refused)} refused\n"
        f"of {strangers_per_day:g} strangers per day at most {strangers_per_day * fpir:.3g} would "
        "be named"
    )


def _embed_people(
    folder: PeopleFolder, finder: FaceFinder, embedder: ContractEmbedder, *, quiet: bool
) -> tuple[list[list[Looks]], list[RefusedPhoto]]:
    """The usable photos of each person by folder, and the photos that are not usable."""
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    groups, refused = [], [photo for result in folder.refused for photo in result.refused]
    people = list(folder.people.values())
    for photos in track(people, "strangers", console=console, transient=True, disable=hidden):
        faces = []
        for photo in photos:
            try:
                faces.append(read_face(finder, photo, LOOK, embedder.resampling))
            except PhotoError as error:  # the daemon would not compare such a picture either
                refused.append(RefusedPhoto(str(photo), error.problem))
        if faces:
            groups.append([_embed(embedder, part) for part in _group_by_folder(faces)])
    return groups, refused


def _group_by_folder(faces: Sequence[FacePhoto]) -> list[list[FacePhoto]]:
    """A person's photos by folder; folders with too few for a track go together."""
    size = Counter(face.path.parent for face in faces)
    parts: dict[Path | None, list[FacePhoto]] = {}
    for face in faces:
        parent = face.path.parent
        parts.setdefault(parent if size[parent] >= MIN_PHOTOS else None, []).append(face)
    return list(parts.values())


def _embed(embedder: ContractEmbedder, faces: Sequence[FacePhoto]) -> Looks:
    quality = np.array([face.quality for face in faces], np.float32)
    return Looks(embedder.embed(np.stack([face.crop for face in faces])), quality)


def _fuse_tracks(folders: Sequence[Looks]) -> F32:
    """``(T, D)``: the photos of each folder as tracks of `MIN_PHOTOS` and more, fused."""
    tracks = [
        fuse(looks.embedding[rows], looks.quality[rows])
        for looks in folders
        for rows in np.array_split(np.arange(len(looks)), max(len(looks) // TRACK_PHOTOS, 1))
        if len(rows) >= MIN_PHOTOS
    ]
    return np.stack(tracks) if tracks else np.zeros((0, 0), np.float32)


def _tell_passed_over(folder: PeopleFolder, refused: Sequence[RefusedPhoto]) -> None:
    """A line for what is nobody's, and one for each reason why photos are not compared."""
    folder.tell_passed_over()
    reasons = Counter(photo.reason for photo in refused)
    for reason, count in reasons.most_common():
        first = next(photo.photo for photo in refused if photo.reason == reason)
        typer.echo(f"not compared: {count}, {reason} (such as {first})", err=True)
