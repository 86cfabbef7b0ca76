"""YOLO text: a label file beside or parallel to each picture, one object per line, in 0..1.

A line is ``class cx cy w h``, then optionally the five landmarks ``x y`` (``nan nan`` where
unknown), then optionally the label's confidence. A line ``class x y x y x y ..`` is a polygon or an
oriented box: its bounding box is taken. An empty label file means that the picture shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.vision import boxes
from trainers.data import image_file
from trainers.data.dataset import (
    POINTS,
    Dataset,
    Example,
    OnProblem,
    Problem,
    group_by_folder,
    raise_problem,
)
from trainers.data.picture_folder import list_some
from trainers.data.text_file import read_text
from trainers.data.yolo_layout import YoloLayout, find_class_file, find_yolo

_BOX = 5
_FACE = _BOX + 2 * POINTS
_LENGTH = _FACE + 1
_LEAST_POLYGON = 7  # class and three corners
_CLEARLY = 9  # times as many rows of points in their box as outside: faces that turn away
_MAX_FIELDS = 20_001
_NO_LABELS = frozenset({"classes", "train", "val", "valid", "test"})


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a label file in numbers, class first."""

    file: Path
    line: int
    number: tuple[float, ...]

    @property
    def is_polygon(self) -> bool:
        """Whether it can only be a polygon: an odd number of fields, other than of a face."""
        n = len(self.number)
        return n >= _LEAST_POLYGON and n % 2 == 1 and n != _FACE

    @property
    def points_in_box(self) -> bool:
        """Whether all known points of a face lie in its box, or some are unknown."""
        cx, cy, w, h = self.number[1:_BOX]
        points = np.array(self.number[_BOX:_FACE]).reshape(-1, 2)
        if np.isnan(points).any():
            return True
        return bool((np.abs(points - (cx, cy)) <= (w / 2 + 1e-3, h / 2 + 1e-3)).all())


def _parse_line(line: str, layout: YoloLayout) -> tuple[tuple[float, ...], str]:
    """The numbers of a line and what is wrong with them, or nothing."""
    fields = line.replace(",", " ").replace(";", " ").split(maxsplit=_MAX_FIELDS)
    n, n_classes = len(fields), len(layout.classes)
    known = n in (_BOX, _BOX + 1, _FACE + 1) or (n > _BOX and (n % 2 or layout.keypoints))
    if n > _MAX_FIELDS or not known:
        what = "expected 'class cx cy w h [5 points] [weight]' or 'class x y x y x y ..'"
        return (), f"{what}, got {n} fields"
    try:
        number = tuple(float(f) for f in fields)
    except ValueError:
        return (), f"expected numbers, got {line.strip()[:80]!r}"
    if not (number[0].is_integer() and 0 <= number[0] < n_classes):
        known_classes = f"{layout.class_file.name} names 0 to {n_classes - 1}"
        return (), f"class {fields[0][:20]} does not exist: {known_classes}"
    return number, ""


def _read_rows(label_file: Path, layout: YoloLayout, on_problem: OnProblem) -> list[_Row]:
    rows: list[_Row] = []
    if not label_file.exists():
        what = "missing: an empty file means that the picture shows nothing"
        on_problem(Problem(label_file, 0, what))
        return rows
    try:
        text = read_text(label_file)
    except ConfigError as error:
        on_problem(Problem(label_file, 0, error.problem))
        return rows
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        number, wrong = _parse_line(line, layout)
        if wrong:
            on_problem(Problem(label_file, n, wrong))
        else:
            rows.append(_Row(label_file, n, number))
    return rows


@dataclass(slots=True)
class _Converter:
    """Rows of all kinds to boxes with landmarks; counts what was no box."""

    keypoints: bool
    faces: bool
    polygons: int = 0
    dropped_keypoints: int = 0

    def convert(self, row: _Row) -> list[float]:
        """16 numbers: class, cx cy w h, ten landmark coordinates, weight.

        Raises:
            ValueError: The row is none; says why.
        """
        number, weight = list(row.number), 1.0
        if self.keypoints and len(number) == _BOX + 3 * POINTS:  # x y visibility of a face
            xyv = np.array(number[_BOX:]).reshape(POINTS, 3)
            number[_BOX:] = np.where(xyv[:, 2:] > 0, xyv[:, :2], np.nan).ravel().tolist()
        elif self.keypoints and len(number) not in (_BOX, _BOX + 1, _FACE):
            self.dropped_keypoints += 1
            number = number[:_BOX]
        elif row.is_polygon or (len(number) == _FACE and not self._is_face(row)):
            self.polygons += 1
            number = _bound(number)
        elif len(number) in (_BOX + 1, _FACE + 1):
            weight = number.pop()
        text = " ".join(f"{v:g}" for v in row.number[:_BOX])
        if not np.isfinite(number[:_BOX]).all() or min(number[3:_BOX]) <= 0:
            raise ValueError(f"width and height must be positive and finite, got '{text}'")
        if not 0 < weight <= 1:
            raise ValueError(f"weight must be in (0, 1], got {weight}")
        return [*number[:_BOX], *(number[_BOX:] or [np.nan] * 2 * POINTS), weight]

    def _is_face(self, row: _Row) -> bool:
        return self.faces or row.points_in_box


def _bound(number: list[float]) -> list[float]:
    corners = np.array(number[1:]).reshape(-1, 2)
    low, high = corners.min(0), corners.max(0)
    return [number[0], *((low + high) / 2).tolist(), *(high - low).tolist()]


def _make_converter(layout: YoloLayout, rows: list[_Row]) -> _Converter:
    """Points beside their box are a face that turns away only among many whose points lie in it."""
    faces = [row.points_in_box for row in rows if len(row.number) == _FACE]
    inside, outside = faces.count(True), faces.count(False)
    mixed = any(row.is_polygon for row in rows)
    return _Converter(layout.keypoints, not mixed and inside >= _CLEARLY * max(outside, 1))


def read_yolo(
    folder: Path,
    on_problem: OnProblem = raise_problem,
    group: Callable[[Path], str] = group_by_folder,
) -> Dataset:
    """Read the data set in ``folder``, in one of the layouts of `yolo_layout`.

    Pictures may lie in folders below those of the layout; ``group`` turns such a path into its
    group. Copies that Roboflow made of one picture are of one group.

    Raises:
        ConfigError: There is a problem and ``on_problem`` is not given.
    """
    class_file = find_class_file(folder)
    if class_file is None:
        raise ConfigError("classes.txt or data.yaml is missing: add it.", file=folder)
    layout = find_yolo(folder, class_file)
    folder = class_file.parent if folder.is_file() else folder
    notes, unlabeled = list(layout.notes), 0
    read: list[tuple[int, list[_Row]]] = []
    for n, place in enumerate(layout.places):
        if not layout.needs_labels and not place.label_file.exists():
            unlabeled += 1
            read.append((n, []))
        else:
            read.append((n, _read_rows(place.label_file, layout, on_problem)))
    converter = _make_converter(layout, [row for _, rows in read for row in rows])
    examples: list[Example] = []
    for n, rows in read:
        place = layout.places[n]
        table = _convert_all(converter, rows, on_problem)
        try:
            size_wh = image_file.size_wh(place.picture)
        except ConfigError:
            what = "not a readable picture: replace it or drop it"
            on_problem(Problem(place.picture, 0, what))
            continue
        pixels = np.array([*size_wh, *size_wh])
        examples.append(
            Example(
                path=place.picture,
                size_wh=size_wh,
                xyxy=boxes.cxcywh_to_xyxy((table[:, 1:5] * pixels).astype(np.float32)),
                class_id=table[:, 0].astype(np.int32),
                landmarks=(table[:, 5:-1].reshape(-1, POINTS, 2) * size_wh).astype(np.float32),
                weight=table[:, -1].astype(np.float32),
                name=place.name,
                group=group(place.relative).split(".rf.")[0],
                label_file=place.label_file,
                part=place.part,
            )
        )
    notes += _tell(layout, converter, unlabeled, folder)
    return Dataset(layout.classes, tuple(sorted(examples, key=lambda e: e.name)), tuple(notes))


def _convert_all(converter: _Converter, rows: list[_Row], on_problem: OnProblem) -> np.ndarray:
    table: list[list[float]] = []
    for row in rows:
        try:
            table.append(converter.convert(row))
        except ValueError as error:
            on_problem(Problem(row.file, row.line, str(error)))
    return np.array(table, np.float64).reshape(-1, _LENGTH)


def _tell(layout: YoloLayout, converter: _Converter, unlabeled: int, folder: Path
          ) -> list[Problem]:  # fmt: skip
    notes: list[Problem] = []
    if converter.polygons:
        what = f"{converter.polygons} polygon(s) or oriented box(es) became their bounding boxes"
        notes.append(Problem(folder, 0, what, harmless=True))
    if converter.dropped_keypoints:
        what = f"the keypoints of {converter.dropped_keypoints} object(s) were left out"
        notes.append(Problem(folder, 0, what, harmless=True))
    if unlabeled:
        what = f"{unlabeled} picture(s) have no label file: they are taken to show nothing"
        notes.append(Problem(folder, 0, what, harmless=True))
    used = {place.label_file for place in layout.places}
    lost = [
        path
        for below in sorted({path.parent for path in used} | {folder / "labels"})
        for path in sorted(below.glob("*.txt"))
        if path not in used and path != layout.class_file and not _is_list(path)
    ]
    if lost:
        what = f"{len(lost)} label(s) have no picture that can be read"
        notes.append(Problem(folder, 0, f"{what}: {list_some(p.name for p in lost)}"))
    return notes


def _is_list(path: Path) -> bool:
    return path.stem in _NO_LABELS or path.name.lower().startswith((".", "readme"))


def format_rows(example: Example) -> str:
    """The text of a label file.

    Landmarks are written only where one is known, weights only where not 1.
    """
    size_wh = np.array(example.size_wh, np.float32)
    cxcywh = boxes.xyxy_to_cxcywh(example.xyxy) / np.tile(size_wh, 2)
    points = example.landmarks / size_wh
    lines: list[str] = []
    for c, box, five, w in zip(example.class_id, cxcywh, points, example.weight, strict=True):
        fields = [str(int(c)), *(f"{v:.6f}" for v in box)]
        if np.isfinite(five).any():
            fields += [f"{v:.6f}" for v in five.ravel()]
        if w != 1:
            fields.append(f"{w:.4f}")
        lines.append(" ".join(fields))
    return "".join(line + "\n" for line in lines)
