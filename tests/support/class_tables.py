"""Tables of samples cut from the shared data: vehicles and people, heads, mouths.

Heads and mouths are the faces of ytf_dev that zoo:faces-nano finds, labeled by the 68 landmarks
alone:

- The head: how far the tip of the nose (30) lies from both sides of the jaw (the means of 1 to 3
  and of 13 to 15) along the line of the eyes; the difference of the two over their sum is 0 for a
  head that looks straight ahead. ``ahead`` is at most 0.15, ``left`` and ``right``, as seen in the
  picture, 0.35 and more; between them a face is left out.
- The mouth: the mean height of the inner lips (61 to 67, 62 to 66, 63 to 65) over their width (60
  to 64). ``open`` is 0.3 and more, ``closed`` at most 0.08; between them a face is left out.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.runtimes.onnx import Options, build
from edge.types import F32, Frame
from edge.vision import boxes
from edge.vision.image_file import read_picture
from trainers.data.dataset import is_held_out
from trainers.data.read import read_dataset

KINDS = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
LEAST_PX = 16
FOLD_BYTE = 3  # of a name's hash: the first by which each third has some of every kind
COLUMNS = ("file", "class", "x1", "y1", "x2", "y2", "group", "part")
Row = tuple[Any, ...]  # as `COLUMNS`


def write_table(path: Path, rows: Sequence[Row]) -> str:
    """Write a table of samples; how many there are of each part and class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, *others in rows:
            writer.writerow([os.path.relpath(name, path.parent), *others])
    count = Counter((str(row[7]), str(row[1])) for row in rows)
    return ", ".join(f"{part} {label} {n}" for (part, label), n in sorted(count.items()))


def list_vehicles(data: Path, fold: int, folds: int) -> Iterator[Row]:
    """The boxes of `KINDS` in coco_dev; the part of one fold of the pictures is ``val``."""
    dataset = read_dataset(data / "coco_dev").select(KINDS)
    for example in dataset.examples:
        byte = hashlib.sha256(example.name.encode()).digest()[FOLD_BYTE]
        part = "val" if byte % folds == fold else "train"
        for xyxy, kind in zip(example.xyxy, example.class_id, strict=True):
            if (xyxy[2:] - xyxy[:2]).min() >= LEAST_PX:
                yield str(example.path), KINDS[kind], *_round(xyxy), example.name, part


def _round(xyxy: F32) -> list[float]:
    return [round(value, 2) for value in xyxy.tolist()]


def name_head(turn: float) -> str:
    """The class of a head, empty between two."""
    if abs(turn) <= 0.15:
        return "ahead"
    return ("left" if turn < 0 else "right") if abs(turn) >= 0.35 else ""


def measure_mouths(points: F32) -> F32:
    """``(N, 68, 2)`` -> ``(N,)``: height of the opening over its width."""
    heights = [np.linalg.norm(points[:, a] - points[:, b], axis=1)
               for a, b in ((61, 67), (62, 66), (63, 65))]  # fmt: skip
    width = np.linalg.norm(points[:, 60] - points[:, 64], axis=1)
    return np.asarray(np.mean(heights, axis=0) / np.maximum(width, 1e-6), np.float32)


def name_mouth(opening: float) -> str:
    """The class of a mouth, empty between two."""
    return "open" if opening >= 0.3 else "closed" if opening <= 0.08 else ""


def list_faces(
    data: Path,
    measure: Callable[[F32], F32],
    name: Callable[[float], str],
    parts: tuple[str, ...] = ("train", "val", "test"),
) -> Iterator[Row]:
    """The faces of ytf_dev that are found and have a class.

    A fifth of the people, those that no trainer of the zoo is shown, is the part ``test``, a tenth
    of the others the part ``val``.
    """
    folder = data / "ytf_dev"
    labeled = {e.path: e for e in read_dataset(folder).examples}
    zoo = resolve_model("zoo:faces-nano", get_zoo_folder())
    finder = load_model("faces", build(Options()), zoo)
    with (folder / "landmarks68.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = [f"{axis}{n}" for n in range(68) for axis in "xy"]
    points = np.array([[row[key] for key in keys] for row in rows], np.float32)
    for row, value in zip(rows, measure(points.reshape(-1, 68, 2)), strict=True):
        path = folder / "images" / row["file"]
        example, label = labeled[path], name(float(value))
        part = _choose_part(example.group)
        if not label or part not in parts:
            continue
        [found] = finder.find([Frame("", 0, 0, 0.0, 0.0, read_picture(path))])
        overlap = boxes.iou(example.xyxy, found.xyxy)[0]
        if len(overlap) and overlap.max() >= 0.5:
            yield str(path), label, *_round(found.xyxy[overlap.argmax()]), example.group, part


def _choose_part(person: str) -> str:
    if is_held_out(person, 0.2, 0):
        return "test"
    return "val" if is_held_out(person, 0.1, 1) else "train"
