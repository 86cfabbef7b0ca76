"""Check a data set: everything that is wrong with it at once, not just the first thing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.printable import format_count
from edge.vision import boxes
from trainers.data import image_file
from trainers.data.boxes_inside import describe_unit
from trainers.data.check_points import (
    Fingerprint,
    compute_fingerprint,
    find_point_problems,
    find_unmirrored,
)
from trainers.data.dataset import Dataset, Example, Problem
from trainers.data.read import read_dataset

_OUTSIDE_PX = 1.5  # rounding is not a problem
_LEAST_PX = 1.0
_SAME_IOU = 0.98


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """Contents and problems of a data set.

    Attributes:
        pictures: Number of pictures.
        empty: Number of pictures without a label.
        groups: Number of groups (videos, people).
        objects: Number of objects by class.
        landmarked: Number of objects with at least one landmark.
        soft: Number of objects labeled by a teacher (weight below 1).
        problems: In the order of the files.
        notes: What is told and no fault: what was read in another way than written, what training
            puts right by itself.
    """

    pictures: int
    empty: int
    groups: int
    objects: dict[str, int]
    landmarked: int
    soft: int
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def lines(self, max_problems: int = 50) -> list[str]:
        """The report as lines to print, with at most ``max_problems`` problems."""
        total = sum(self.objects.values())
        pictures = format_count(self.pictures, "picture")
        groups, objects = format_count(self.groups, "group"), format_count(total, "object")
        lines = [
            f"{pictures} ({self.empty} without an object) in {groups}",
            f"{objects}, {self.landmarked} with landmarks, {self.soft} labeled by a teacher",
        ]
        lines += [f"  {count:6d}  {name}" for name, count in self.objects.items()]
        lines += [f"note: {n}" for n in self.notes[:max_problems]]
        if len(self.notes) > max_problems:
            lines.append(f".. and {len(self.notes) - max_problems} more notes")
        lines += [f"problem: {p}" for p in self.problems[:max_problems]]
        if len(self.problems) > max_problems:
            lines.append(f".. and {len(self.problems) - max_problems} more problems")
        lines.append("no problem found" if self.ok else f"{len(self.problems)} problem(s)")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _box_problems(example: Example) -> Iterator[str]:
    size = example.xyxy[:, 2:] - example.xyxy[:, :2]
    beyond = np.maximum(
        -example.xyxy[:, :2], example.xyxy[:, 2:] - np.array(example.size_wh, np.float32)
    )
    width, height = example.size_wh
    for n, box in enumerate(np.round(example.xyxy, 1).tolist()):
        if beyond[n].max() > _OUTSIDE_PX:
            hint = describe_unit(example)
            yield f"box {box} lies outside the picture of {width}x{height}: {hint or 'correct it'}"
        elif size[n].min() < _LEAST_PX:
            yield f"box {box} is smaller than a pixel: drop it"
    same = np.triu(boxes.iou(example.xyxy, example.xyxy) > _SAME_IOU, 1)
    same &= example.class_id[:, None] == example.class_id[None]
    for first, second in np.argwhere(same):
        yield f"boxes {first} and {second} are the same object labeled twice: drop one"


@dataclass(frozen=True, slots=True, eq=False)
class _Inspection:
    """What one picture shows: its problems, and what it is compared with others by.

    Attributes:
        digest: Hash of its pixels; empty where it is broken.
        fingerprint: Of pictures of faces with points, otherwise None.
    """

    problems: list[Problem]
    digest: str = ""
    fingerprint: Fingerprint | None = None


def _inspect(example: Example) -> _Inspection:
    problems = [
        Problem(example.label_file, 0, f"{example.name}: {p}")
        for p in (*_box_problems(example), *find_point_problems(example))
    ]
    try:
        image_file.verify(example.path)
        sample = example.load()
        dark = image_file.describe_dark(example.path)
    except ConfigError as error:
        return _Inspection([*problems, Problem(example.path, 0, error.problem)])
    if dark:
        problems.append(Problem(example.path, 0, dark))
    has_points = np.isfinite(example.landmarks).any()
    return _Inspection(
        problems,
        hashlib.sha256(sample.image.tobytes()).hexdigest(),
        compute_fingerprint(sample.image) if has_points else None,
    )


def _duplicates(examples: Sequence[Example], digests: Sequence[str]) -> Iterator[Problem]:
    first: dict[str, Example] = {}
    for example, digest in zip(examples, digests, strict=True):
        if not digest:
            continue
        before = first.setdefault(digest, example)
        if before is not example:
            apart = before.group != example.group or before.part != example.part
            remedy = "training keeps both on one side of its split" if apart else "drop one"
            what = f"shows the same as {before.path}: {remedy}"
            yield Problem(example.path, 0, what, harmless=True)


def _repeated_names(dataset: Dataset) -> Iterator[Problem]:
    count = Counter(e.name for e in dataset.examples)
    for example in dataset.examples:
        if count[example.name] > 1:
            yield Problem(example.label_file, 0, f"the name {example.name} is used more than once")


def check(
    dataset: Dataset,
    problems: Sequence[Problem] = (),
    path: Path | None = None,
    workers: int = 2,
    progress: Callable[[], object] = lambda: None,
) -> DatasetReport:
    """Decode every picture and check every label.

    ``problems`` were found while reading it; problems of the whole are reported for ``path``.
    ``progress`` is called after each picture.
    """
    problems, path = [*problems, *dataset.notes], path or Path()
    inspected = list[_Inspection]()
    with ThreadPoolExecutor(workers) as pool:
        for inspection in pool.map(_inspect, dataset.examples):
            inspected.append(inspection)
            progress()
    problems += [problem for inspection in inspected for problem in inspection.problems]
    problems += find_unmirrored(dataset.examples, [one.fingerprint for one in inspected])
    problems += _duplicates(dataset.examples, [one.digest for one in inspected])
    problems += _repeated_names(dataset)
    every = np.concatenate([np.zeros(0, np.int32), *(e.class_id for e in dataset.examples)])
    count = np.bincount(every, minlength=len(dataset.classes))
    if not dataset.examples:
        problems.append(Problem(path, 0, "the data set holds no picture: check the folder"))
    for name, n in zip(dataset.classes, count, strict=True):
        if dataset.examples and not n:
            what = f"class {name!r} has no example: label some or drop the class"
            problems.append(Problem(path, 0, what, harmless=True))
    return DatasetReport(
        pictures=len(dataset),
        empty=sum(not len(e) for e in dataset.examples),
        groups=len({e.group for e in dataset.examples}),
        objects={name: int(n) for name, n in zip(dataset.classes, count, strict=True)},
        landmarked=sum(int(np.isfinite(e.landmarks).any((1, 2)).sum()) for e in dataset.examples),
        soft=sum(int((e.weight < 1).sum()) for e in dataset.examples),
        problems=tuple(p for p in problems if not p.harmless),
        notes=tuple(p for p in problems if p.harmless),
    )


def check_path(
    path: Path,
    workers: int = 2,
    on_read: Callable[[Dataset], Callable[[], object]] = lambda _: lambda: None,
) -> tuple[Dataset, DatasetReport]:
    """Read a data set of any format, skipping what cannot be used, and check the rest.

    ``on_read`` gets what was read, and returns what is called after each picture.

    Raises:
        ConfigError: The path holds no data set of a known format.
    """
    problems: list[Problem] = []
    dataset = read_dataset(path, problems.append)
    return dataset, check(dataset, problems, path, workers, on_read(dataset))
