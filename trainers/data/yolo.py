"""YOLO text: ``labels/NAME.txt`` beside ``images/NAME.jpg``, one object per line, in 0..1.

A line is ``class cx cy w h``, then optionally the five landmarks ``x y`` (``nan nan`` where
unknown), then optionally the label's confidence. ``classes.txt`` holds one class name per line. An
empty label file means that the picture shows nothing; a missing one is a problem.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.vision import boxes
from trainers.data import image_file
from trainers.data.dataset import (
    IMAGE_SUFFIXES,
    POINTS,
    Dataset,
    Example,
    OnProblem,
    Problem,
    group_by_folder,
    raise_problem,
)

_BOX = 5
_LINE_LENGTHS = {_BOX, _BOX + 1, _BOX + 2 * POINTS, _BOX + 2 * POINTS + 1}


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one per line.

    Raises:
        ConfigError: The file is missing or empty, or a name occurs twice.
    """
    try:
        names = tuple(n.strip() for n in path.read_text("utf-8").splitlines() if n.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: write one class name per line") from error
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{path}: expected different class names, one per line, got {names}")
    return names


def _parse_line(line: str, n_classes: int) -> tuple[list[float], str]:
    """16 numbers (class, box, points, weight) and what is wrong with them, or nothing."""
    fields = line.split()
    if len(fields) not in _LINE_LENGTHS:
        return [], f"expected 'class cx cy w h [5 points] [weight]', got {len(fields)} fields"
    try:
        number = [float(f) for f in fields]
    except ValueError:
        return [], f"expected numbers, got {line.strip()!r}"
    if not (number[0].is_integer() and 0 <= number[0] < n_classes):
        return [], f"class {fields[0]} does not exist: classes.txt names 0 to {n_classes - 1}"
    if not np.isfinite(number[:_BOX]).all() or min(number[3:_BOX]) <= 0:
        return [], f"width and height must be positive and finite, got {line.strip()!r}"
    weight = number.pop() if len(number) in (_BOX + 1, _BOX + 2 * POINTS + 1) else 1.0
    if not 0 < weight <= 1:
        return [], f"weight must be in (0, 1], got {weight}"
    points = number[_BOX:] or [np.nan] * 2 * POINTS
    return [*number[:_BOX], *points, weight], ""


def _read_rows(label_file: Path, n_classes: int, on_problem: OnProblem) -> np.ndarray:
    """``(N, 16)`` class, cx cy w h, ten landmark coordinates, weight; all as in the file."""
    try:
        text = label_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        on_problem(Problem(label_file, 0, "missing or not text: an empty file means no object"))
        text = ""
    rows: list[list[float]] = []
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row, wrong = _parse_line(line, n_classes)
        if wrong:
            on_problem(Problem(label_file, n, wrong))
        else:
            rows.append(row)
    return np.array(rows, np.float64).reshape(-1, _BOX + 2 * POINTS + 1)


def read_yolo(
    folder: Path,
    on_problem: OnProblem = raise_problem,
    group: Callable[[Path], str] = group_by_folder,
) -> Dataset:
    """Read the data set in ``folder``: ``images/``, ``labels/`` and ``classes.txt``.

    Pictures may lie in folders below ``images/``; ``group`` turns such a path into its group.

    Raises:
        ConfigError: There is a problem and ``on_problem`` is not given.
    """
    classes = read_classes(folder / "classes.txt")
    images = folder / "images"
    examples: list[Example] = []
    for path in sorted(p for p in images.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
        relative = path.relative_to(images)
        label_file = folder / "labels" / relative.with_suffix(".txt")
        rows = _read_rows(label_file, len(classes), on_problem)
        try:
            size_wh = image_file.size_wh(path)
        except ConfigError:
            on_problem(Problem(path, 0, "not a readable picture: replace it or drop it"))
            continue
        pixels = np.array([*size_wh, *size_wh])
        examples.append(
            Example(
                path=path,
                size_wh=size_wh,
                xyxy=boxes.cxcywh_to_xyxy((rows[:, 1:5] * pixels).astype(np.float32)),
                class_id=rows[:, 0].astype(np.int32),
                landmarks=(rows[:, 5:15].reshape(-1, POINTS, 2) * size_wh).astype(np.float32),
                weight=rows[:, 15].astype(np.float32),
                name=relative.with_suffix("").as_posix(),
                group=group(relative),
                label_file=label_file,
            )
        )
    return Dataset(classes, tuple(examples))


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
