"""Portraits: aligned faces of known people, to train and evaluate embedders.

Two layouts are read: ``labels.csv`` beside ``images/`` as in ``face_csv``, with a column ``video``
where it is known, and ``DIR/NAME/*.jpg``, a folder per person. In a picture without landmarks a
face detector, if given, detects the face. Faces are aligned as the daemon does.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.compat import Self
from edge.errors import ConfigError
from edge.people.recognition.close_up import FoundFace, refine_landmarks
from edge.people.recognition.face_quality import assess
from edge.ports import FaceFinder
from edge.types import F32, I64, U8, Frame, Resampling, RgbPicture
from edge.vision.face_crops import FACE_PX, align_face
from trainers.data import image_file
from trainers.data.dataset import IMAGE_SUFFIXES, POINTS, Problem, is_held_out
from trainers.data.picture_folder import find_pictures, list_some

_AXES = tuple(f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy")
_BORDER = 0.25  # added on each side, as a fraction of the picture, if no face is detected
VAL_FRACTION, SPLIT_SEED = 0.2, 0  # of the people; fixed, so that no training sees them
SUFFIXES = IMAGE_SUFFIXES | {".pgm"}  # gray pictures of old collections


@dataclass(frozen=True, slots=True, eq=False)
class Portraits:
    """N aligned faces.

    Attributes:
        crops: ``(N, 112, 112, 3)`` uint8 RGB.
        person: ``(N,)`` index into ``names``.
        video: ``(N,)`` index of the video, unique over all people; pictures of one video are
            so similar that only pairs across videos mean anything.
        quality: ``(N,)`` face quality as the daemon computes it.
        names: Names of the people.
        notes: What was passed over.
    """

    crops: U8
    person: I64
    video: I64
    quality: F32
    names: tuple[str, ...]
    notes: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.person), FACE_PX, FACE_PX, 3)
        if self.crops.shape != shape or self.crops.dtype != np.uint8:
            raise ValueError(f"crops must be {shape} uint8, got {self.crops.shape}")

    def __len__(self) -> int:
        return len(self.person)

    def select_people(self, people: Sequence[int]) -> Self:
        """These people only, renumbered in the order given."""
        place = {old: new for new, old in enumerate(people)}
        rows = np.flatnonzero(np.isin(self.person, people))
        person = np.array([place[int(p)] for p in self.person[rows]], np.int64)
        names = tuple(self.names[p] for p in people)
        return type(self)(
            self.crops[rows], person, self.video[rows], self.quality[rows], names, self.notes
        )

    def split(
        self, val_fraction: float = VAL_FRACTION, seed: int = SPLIT_SEED
    ) -> tuple[Self, Self]:
        """Split into (training, held out) by person; the side depends on the name alone.

        Raises:
            ConfigError: One side would be empty.
        """
        held = [p for p, name in enumerate(self.names) if is_held_out(name, val_fraction, seed)]
        rest = [p for p in range(len(self.names)) if p not in set(held)]
        if not held or not rest:
            raise ConfigError(
                f"Holding out {val_fraction:.0%} of {len(self.names)} people empties one side: "
                "add people, or choose another --val-fraction."
            )
        return self.select_people(rest), self.select_people(held)

    def __add__(self, other: Self) -> Self:
        """Both sets; people of the same name are one person, videos stay apart."""
        names = (*self.names, *(n for n in other.names if n not in self.names))
        person = np.array([names.index(other.names[p]) for p in other.person], np.int64)
        video = other.video + self.video.max(initial=-1) + 1
        return type(self)(
            np.concatenate([self.crops, other.crops]), np.concatenate([self.person, person]),
            np.concatenate([self.video, video]), np.concatenate([self.quality, other.quality]),
            names, self.notes + other.notes,
        )  # fmt: skip

    def sha256(self) -> str:
        """Hash of pixels and people."""
        whole = hashlib.sha256(self.crops.tobytes())
        whole.update("\n".join(self.names[p] for p in self.person).encode())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _PortraitRow:
    """A picture, its person and video, and the landmarks if they are labeled."""

    path: Path
    name: str
    video: str
    landmarks: F32 | None


def read_portraits(
    path: Path,
    finder: FaceFinder | None = None,
    resampling: Resampling = "halved_bilinear",
) -> Portraits:
    """Read and align every face of a data set in one of the module's layouts.

    In pictures without landmarks ``finder`` detects the face; without it they are left out.

    Raises:
        ConfigError: The data is unreadable, or shows no face.
    """
    notes = list[Problem]()
    if (path / "labels.csv").is_file():
        rows = list(_csv_rows(path / "labels.csv"))
    else:
        rows, notes = _tree(path)
    crops, points, kept, faceless = [], [], [], []
    for row in rows:
        found = _face(row, finder, resampling)
        if found is None:
            faceless.append(row.path)
        else:
            crops.append(found[0])
            points.append(found[1])
            kept.append(row)
    if faceless:
        why = "show no face that is found" if finder else (
            "have no five points and are left out: name a face detector (--detector)"
        )  # fmt: skip
        what = f"{len(faceless)} of {len(rows)} picture(s) {why}: "
        notes.append(Problem(path, 0, what + list_some(p.name for p in faceless)))
    if not kept:
        why = "".join(f" {note.what}." for note in notes)
        raise ConfigError(
            "No face can be aligned: give labels.csv with five points, or DIR/NAME/*.jpg and a "
            f"face detector (--detector).{why}",
            file=path,
        )
    names = tuple(sorted({row.name for row in kept}))
    videos = sorted({(row.name, row.video) for row in kept})
    aligned = np.stack(crops)
    return Portraits(
        aligned,
        np.array([names.index(row.name) for row in kept], np.int64),
        np.array([videos.index((row.name, row.video)) for row in kept], np.int64),
        assess(np.stack(points), aligned).value,
        names,
        tuple(notes),
    )


def _csv_rows(file: Path) -> Iterator[_PortraitRow]:
    with file.open(newline="", encoding="utf-8") as opened:
        table = csv.DictReader(opened)
        missing = [c for c in ("file", "identity", *_AXES) if c not in (table.fieldnames or [])]
        if missing:
            raise ConfigError(f"lacks column(s) {', '.join(missing)}", file=file, line=1)
        for number, row in enumerate(table):
            known = all(row[c] for c in _AXES)
            points = (
                np.array([row[c] for c in _AXES], np.float32).reshape(POINTS, 2) if known else None
            )
            video = row.get("video") or str(number)  # a picture alone is its own video
            yield _PortraitRow(file.parent / "images" / row["file"], row["identity"], video, points)


def _tree(folder: Path) -> tuple[list[_PortraitRow], list[Problem]]:
    """The pictures of each person's folder, each a video of its own, and what was passed over."""
    pictures, notes = find_pictures(folder, SUFFIXES)
    rows, elsewhere = [], []
    for path in pictures:
        person, *below = path.relative_to(folder).parts
        if len(below) == 1:
            rows.append(_PortraitRow(path, person, path.name, None))
        else:
            elsewhere.append(path.relative_to(folder).as_posix())
    if elsewhere:
        what = f"{len(elsewhere)} picture(s) were passed over, not at DIR/NAME/*.jpg: "
        notes.append(Problem(folder, 0, what + list_some(elsewhere)))
    return rows, notes


def _face(
    row: _PortraitRow, finder: FaceFinder | None, resampling: Resampling
) -> tuple[U8, F32] | None:
    """Crop and landmarks of the face; None where neither labels nor a detector tell it."""
    if row.landmarks is not None:
        labeled = image_file.read(row.path)
        return align_face(labeled, row.landmarks, resampling=resampling), row.landmarks
    if finder is None:
        return None
    picture = image_file.read(row.path)
    height, width = (round(side * _BORDER) for side in picture.rgb.shape[:2])
    framed = RgbPicture(np.pad(picture.rgb, ((height, height), (width, width), (0, 0))))
    for seen in (picture, framed):
        frame = Frame("", 0, 0, 0.0, 0.0, seen)
        (faces,) = finder.find([frame])
        if len(faces):
            largest = int((faces.xyxy[:, 3] - faces.xyxy[:, 1]).argmax())
            face = FoundFace(frame, faces.xyxy[largest], faces.landmarks[largest])
            [points] = refine_landmarks(finder, [face])
            return align_face(seen, points, resampling=resampling), points
    return None
