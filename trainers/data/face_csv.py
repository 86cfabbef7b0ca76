"""Labeled faces of one person each: ``labels.csv`` beside ``images/``, pixels.

Columns file, identity, video, width, height, x1, y1, x2, y2, then x and y of leye, reye,
nose, lmouth, rmouth, empty where unknown. A row without a box is left out: its picture shows
a face somewhere, so it is neither positive nor negative. Left and right are as seen in the image.
The group is the identity, so that a split parts people.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from trainers.data.dataset import POINTS, Dataset, Example, OnProblem, Problem, raise_problem
from trainers.data.text_file import read_text

_BOX = ("x1", "y1", "x2", "y2")
_POINTS = tuple(f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy")
_COLUMNS = ("file", "identity", "width", "height", *_BOX, *_POINTS)


def _read_row(row: dict[str, str], label_file: Path) -> Example:
    box = [float(row[c]) for c in _BOX]
    if not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"a box must have x1 < x2 and y1 < y2, got {box}")
    if not row["identity"]:
        raise ValueError("identity is empty: name the person")
    points = [float(row[c]) if row[c] else np.nan for c in _POINTS]
    return Example(
        path=label_file.parent / "images" / row["file"],
        size_wh=(int(row["width"]), int(row["height"])),
        xyxy=np.array([box], np.float32),
        class_id=np.zeros(1, np.int32),
        landmarks=np.array(points, np.float32).reshape(1, POINTS, 2),
        weight=np.ones(1, np.float32),
        name=Path(row["file"]).with_suffix("").as_posix(),
        group=row["identity"],
        label_file=label_file,
    )


def read_face_csv(label_file: Path, on_problem: OnProblem = raise_problem) -> Dataset:
    """The data set of ``label_file``; its one class is ``face``.

    Raises:
        ConfigError: Names the file and the line.
    """
    examples: list[Example] = []
    try:
        table = csv.DictReader(io.StringIO(read_text(label_file), newline=""))
        missing = [c for c in _COLUMNS if c not in (table.fieldnames or [])]
        if missing:
            raise ConfigError(f"lacks column(s) {', '.join(missing)}", file=label_file, line=1)
        for row in table:
            if row["x1"] == "":  # a face at an unknown position
                continue
            try:
                examples.append(_read_row(row, label_file))
            except (ValueError, TypeError, AttributeError) as error:  # of a row that is too short
                on_problem(Problem(label_file, table.line_num, str(error)))
    except csv.Error as error:
        raise ConfigError(f"{label_file}: cannot be read: {error}") from error
    return Dataset(("face",), tuple(sorted(examples, key=lambda e: e.name)))
