"""Labeled pictures and data sets of them, whatever the file format.

An `Example` names the file of its picture, a `Sample` holds the pixels. Labels are columns of equal
length. Landmarks are always present, and NaN where they are unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from edge.columns import Columns, Rows
from edge.compat import Self, file_digest
from edge.errors import ConfigError
from edge.types import F32, I32, U8
from edge.vision import boxes
from trainers.data import image_file

POINTS = 5  # left eye, right eye, nose, left and right mouth corner, as seen in the image
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif"}
)
Part = Literal["", "train", "val", "test"]  # of a split that the data set brings along


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with the data.

    Attributes:
        line: Its line, 0 where there is none.
        what: What was expected, what came, what to do.
        harmless: Whether nothing is lost: it is told, and no fault of the data.
    """

    file: Path
    line: int
    what: str
    harmless: bool = False

    def __str__(self) -> str:
        return str(self.error())

    def error(self) -> ConfigError:
        """The problem as an error to raise."""
        return ConfigError(self.what, file=self.file, line=self.line or None)


OnProblem = Callable[[Problem], None]


def raise_problem(problem: Problem) -> NoReturn:
    """Raise at the first problem, as a reader does unless ``check`` collects them.

    Raises:
        ConfigError: Always.
    """
    raise problem.error()


def unknown_points(n: int) -> F32:
    """``(n, 5, 2)`` unknown landmarks."""
    return np.full((n, POINTS, 2), np.nan, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Labeled(Columns):
    """Base of what has labels: columns of a row per object, which can be sliced."""

    layout: ClassVar = {
        "xyxy": (np.float32, (4,)),
        "class_id": (np.int32, ()),
        "landmarks": (np.float32, (POINTS, 2)),
        "weight": (np.float32, ()),
    }

    def __getitem__(self, rows: Rows) -> Self:
        """The same picture with some of its labels, by mask, indices or slice."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in self.layout}
        return replace(self, **columns)

    def move_labels(self, scale: ArrayLike = 1, shift: ArrayLike = 0) -> Self:
        """The same with coordinates multiplied and then shifted, ``(2,)`` x y or a number each."""
        scale, shift = np.asarray(scale, np.float32), np.asarray(shift, np.float32)
        columns: dict[str, Any] = {}
        for name in ("xyxy", "landmarks"):
            column = getattr(self, name)
            columns[name] = (column.reshape(-1, 2) * scale + shift).reshape(column.shape)
        return replace(self, **columns)


def join_labels(parts: Sequence[_Labeled]) -> dict[str, Any]:
    """The label columns of all parts, one after another, by name."""
    return {name: np.concatenate([getattr(p, name) for p in parts]) for name in _Labeled.layout}


def no_labels() -> dict[str, Any]:
    """Empty label columns, by name."""
    return {name: np.zeros((0, *row), dtype) for name, (dtype, row) in _Labeled.layout.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Sample(_Labeled):
    """A picture with its labels, read-only.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB, upright.
        xyxy: ``(N, 4)`` float32, pixels of ``image``.
        class_id: ``(N,)`` int32, index into the classes of the data set.
        landmarks: ``(N, 5, 2)`` float32, pixels of ``image``, NaN where unknown.
        weight: ``(N,)`` float32 in (0, 1]: 1 for a human label, less for a teacher's.
        name: Name of the picture, unique in its data set.
        group: Video or person; a split never parts a group.
    """

    image: U8
    xyxy: F32
    class_id: I32
    landmarks: F32
    weight: F32
    name: str
    group: str

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"image must be (H, W, 3) uint8, got {self.image.shape}")
        self.image.flags.writeable = False
        _Labeled.__post_init__(self)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def inside(self, least_px: float = 1.0) -> Self:
        """Clip boxes to the picture, drop those below ``least_px``, forget points outside."""
        xyxy = boxes.clip(self.xyxy, self.size_wh)
        beyond = np.less(self.landmarks, 0) | np.greater_equal(self.landmarks, self.size_wh)
        outside = beyond.any(2, keepdims=True)  # (N, 5, 1)
        landmarks = np.where(outside, np.float32(np.nan), self.landmarks)
        keep = np.greater_equal(xyxy[:, 2:] - xyxy[:, :2], least_px).all(1)
        return replace(self, xyxy=xyxy, landmarks=landmarks)[keep]


@dataclass(frozen=True, slots=True, eq=False)
class Example(_Labeled):
    """The labels of a picture in a file; columns as in `Sample`.

    Attributes:
        path: File of the picture.
        size_wh: Its upright size in pixels, which the labels refer to.
        label_file: File of the labels, for messages.
        part: The part of the data set's own split that it belongs to; empty without one.
    """

    path: Path
    size_wh: tuple[int, int]
    xyxy: F32
    class_id: I32
    landmarks: F32
    weight: F32
    name: str
    group: str
    label_file: Path
    part: Part = ""

    def load(self) -> Sample:
        """Read the picture.

        Raises:
            ConfigError: The file is missing or broken, or not of the size its labels are for.
        """
        picture = image_file.read(self.path)
        if picture.size_wh != self.size_wh:
            have, want = picture.size_wh, self.size_wh
            raise ConfigError(
                f"This picture is {have[0]}x{have[1]} upright, but its labels in "
                f"{self.label_file} are for {want[0]}x{want[1]}: label it again.",
                file=self.path,
            )
        return self.with_pixels(picture.rgb)

    def with_pixels(self, image: U8) -> Sample:
        """The sample with these pixels, whose size may differ from that of the labels."""
        columns = (self.xyxy, self.class_id, self.landmarks, self.weight)
        return Sample(image, *columns, self.name, self.group)


def is_held_out(group: str, fraction: float, seed: int) -> bool:
    """Whether a group is held out for validation; depends on its name and the seed only."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples that share their classes.

    Attributes:
        classes: Names by class_id.
        examples: In the order of their names.
        notes: What was read in another way than written, or passed over.
    """

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    notes: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def __add__(self, other: Dataset) -> Dataset:
        """Both data sets; classes are united by name, names of pictures may repeat."""
        classes = tuple(dict.fromkeys(self.classes + other.classes))
        parts = [_remap(e, part.classes, classes) for part in (self, other) for e in part.examples]
        return Dataset(classes, tuple(parts), self.notes + other.notes)

    def require_examples(self) -> Self:
        """Return itself if it can be trained on.

        Raises:
            ConfigError: It has no pictures, or none of them has a label.
        """
        if not self.examples:
            raise ConfigError("The data set holds no picture: check the folder and its format.")
        if not any(len(e) for e in self.examples):
            raise ConfigError(
                f"None of the {len(self)} pictures shows any of {', '.join(self.classes)}: "
                "check the labels and the choice of classes."
            )
        return self

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split into (training, validation) by group, never by frame.

        A split that the data set brings along is kept: its validation part is held out, and its
        test part is on neither side. Elsewhere the side of a group depends on its name and the
        seed alone, so adding pictures moves no other. The validation part is therefore only about
        ``fraction`` of the data.

        Raises:
            ConfigError: One side would be empty.
        """
        given = any(e.part == "val" for e in self.examples)

        def is_val(e: Example) -> bool:
            if given and e.part:
                return e.part == "val"
            return is_held_out(e.group, fraction, seed)

        learned = self.where(lambda e: e.part != "test")
        sides = (learned.where(lambda e: not is_val(e)), learned.where(is_val))
        if not all(len(side) for side in sides):
            groups = len({e.group for e in self.examples})
            raise ConfigError(
                f"Holding out {fraction:.0%} of {groups} group(s) leaves one side empty: "
                "add pictures of other videos or people, or choose another fraction or seed."
            )
        return sides

    def select(self, classes: Sequence[str]) -> Dataset:
        """These classes only, renumbered in the order given; every picture stays.

        Raises:
            ConfigError: The data set lacks a class.
        """
        for name in classes:
            if name not in self.classes:
                raise ConfigError(
                    f"Class {name!r} is not in the data set, which has {', '.join(self.classes)}"
                )
        wanted = tuple(classes)
        examples = tuple(_remap(e, self.classes, wanted) for e in self.examples)
        return Dataset(wanted, examples, self.notes)

    def where(self, keep: Callable[[Example], bool]) -> Dataset:
        """Only the pictures for which ``keep`` is true."""
        return replace(self, examples=tuple(e for e in self.examples if keep(e)))

    def sha256(self) -> str:
        """Hash of classes, labels and the bytes of the pictures: equal hashes mean equal data.

        Raises:
            ConfigError: A picture cannot be read.
        """
        whole = hashlib.sha256("\n".join(self.classes).encode())
        for e in sorted(self.examples, key=lambda e: e.name):
            whole.update(f"\n{e.name}\n{e.group}\n{e.size_wh}\n".encode())
            for column in (e.xyxy, e.class_id, e.landmarks, e.weight):
                whole.update(column.tobytes())
            whole.update(_file_sha256(e.path))
        return whole.hexdigest()


def describe_split(training: Dataset, validation: Dataset) -> dict[str, str | int]:
    """What a run records of its data: hash and number of images."""
    sizes = {"pictures": len(training), "held_back": len(validation)}
    return {"data_sha256": training.sha256(), **sizes}


def _remap(example: Example, old: tuple[str, ...], new: tuple[str, ...]) -> Example:
    if old == new:
        return example
    new_id = np.array([new.index(c) if c in new else -1 for c in old] or [-1], np.int32)
    class_id = new_id[example.class_id]
    return replace(example, class_id=class_id)[class_id >= 0]


def _file_sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConfigError(
            f"This picture cannot be read ({error.strerror}): restore it.", file=path
        ) from error


def group_by_folder(relative: Path) -> str:
    """The group of a picture: its folder, or the picture itself if it is in none.

    So frames of one video, or pictures of one person, belong in a folder of their own.
    """
    folder = relative.parent.as_posix()
    return relative.with_suffix("").as_posix() if folder == "." else folder
