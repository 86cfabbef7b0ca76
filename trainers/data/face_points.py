"""Faces with 68 points: ``landmarks68.csv`` beside ``labels.csv`` and ``images/``.

``landmarks68.csv`` has the columns ``file``, ``x0``, ``y0`` to ``x67``, ``y67``, in pixels; the
picture, its size and the person come from ``labels.csv``, see `face_csv`. Points of a face that is
cut off may lie a little outside its picture.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.compat import Self
from edge.errors import ConfigError
from edge.models.landmarks import POINTS68
from edge.types import F32
from trainers.data.dataset import Dataset, Example, is_held_out
from trainers.data.face_csv import read_face_csv
from trainers.data.picture_folder import list_some
from trainers.data.text_file import read_text

FILE = "landmarks68.csv"
_COLUMNS = ("file", *(f"{axis}{n}" for n in range(POINTS68) for axis in "xy"))
_BEYOND = 0.25  # of a picture's longer side: a point is not farther outside of it


@dataclass(frozen=True, slots=True, eq=False)
class FacePoints:
    """N pictures of one face each.

    Attributes:
        examples: The pictures; the group is the person.
        points: ``(N, 68, 2)`` float32, pixels.
    """

    examples: tuple[Example, ...]
    points: F32

    def __post_init__(self) -> None:
        if self.points.shape != (len(self.examples), POINTS68, 2):
            raise ValueError(
                f"points must be ({len(self.examples)}, {POINTS68}, 2), got {self.points.shape}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, rows: Sequence[int]) -> Self:
        """These pictures only."""
        return type(self)(tuple(self.examples[n] for n in rows), self.points[list(rows)])

    def split(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """Split into (training, held out) by person; the side depends on the name alone.

        Raises:
            ConfigError: One side would be empty.
        """
        held = [is_held_out(e.group, fraction, seed) for e in self.examples]
        if all(held) or not any(held):
            people = len({e.group for e in self.examples})
            raise ConfigError(
                f"Holding out {fraction:.0%} of {people} people empties one side: add people, or "
                "choose another --val-fraction."
            )
        rows = np.flatnonzero(held).tolist(), np.flatnonzero(np.logical_not(held)).tolist()
        return self.select(rows[1]), self.select(rows[0])

    def sha256(self) -> str:
        """Hash of pictures, people and points."""
        named = Dataset(("face",), self.examples).sha256()
        return hashlib.sha256(named.encode() + self.points.tobytes()).hexdigest()


def read_face_points(path: Path) -> FacePoints:
    """Read a folder with ``labels.csv``, ``landmarks68.csv`` and ``images/``.

    Raises:
        ConfigError: A file is missing or broken, a picture has no points, or points lie far
            outside of it; names the line where there is one.
    """
    for name in ("labels.csv", FILE):
        if not (path / name).is_file():
            raise ConfigError(
                f"{path} has no {name}: give a folder with labels.csv, {FILE} and images/"
            )
    examples = read_face_csv(path / "labels.csv").require_examples().examples
    points = _read_points(path / FILE)
    names = [e.path.relative_to(path / "images").as_posix() for e in examples]
    if missing := [name for name in names if name not in points]:
        raise ConfigError(
            f"has no row for {len(missing)} of {len(names)} faces in labels.csv ("
            f"{list_some(missing)}): add their points, or empty their boxes there",
            file=path / FILE,
        )
    for name, example in zip(names, examples, strict=True):
        _check_inside(*points[name], example, path / FILE)
    return FacePoints(examples, np.stack([points[name][0] for name in names]))


def _read_points(file: Path) -> dict[str, tuple[F32, int]]:
    """The points ``(68, 2)`` and the line of each picture."""
    table = csv.reader(io.StringIO(read_text(file), newline=""))
    if tuple(next(table, ())) != _COLUMNS:
        raise ConfigError(
            f"must have the columns file, x0, y0 to x{POINTS68 - 1}, y{POINTS68 - 1}, "
            f"{len(_COLUMNS)} in all: correct its header",
            file=file, line=1,
        )  # fmt: skip
    found: dict[str, tuple[F32, int]] = {}
    try:
        for row in table:
            points = _parse(row)
            if row[0] in found:
                raise ValueError(f"{row[0]} has a row in line {found[row[0]][1]} already")
            found[row[0]] = points, table.line_num
    except (ValueError, IndexError, csv.Error) as error:
        raise ConfigError(
            f"{error}: correct or drop the row", file=file, line=table.line_num
        ) from error
    return found


def _parse(row: Sequence[str]) -> F32:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"a row must have {len(_COLUMNS)} columns, this has {len(row)}")
    points = np.array(row[1:], np.float32).reshape(POINTS68, 2)
    if not np.isfinite(points).all():
        raise ValueError("every point must be a number")
    return points


def _check_inside(points: F32, line: int, example: Example, file: Path) -> None:
    size_wh = np.array(example.size_wh, np.float32)
    beyond = np.maximum(-points, points - size_wh).max(axis=1)
    if beyond.max() > _BEYOND * size_wh.max():
        worst, (width, height) = int(beyond.argmax()), example.size_wh
        x, y = points[worst].tolist()
        raise ConfigError(
            f"point {worst} of {example.name} at {x:g}, {y:g} lies far outside its picture of "
            f"{width}x{height}: give pixels of the picture, or drop the row and its box",
            file=file, line=line,
        )  # fmt: skip
