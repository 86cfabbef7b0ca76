"""A labelled picture, and many of them: what every trainer reads, whatever the format was.

An ``Example`` knows where its picture lies, a ``Sample`` holds the pixels. Labels are columns
of equal length. Landmarks are always there and NaN where nobody knows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.types import F32, I32, U8
from edge.vision import boxes
from trainers.data import image_file as picturefile

POINTS = 5  # left eye, right eye, nose, left and right mouth corner, as seen in the image
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})

Rows = NDArray[np.bool_] | NDArray[np.int64] | slice


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the data, and where.

    Attributes:
        file: the file to look into.
        line: its line, 0 where there is none.
        what: what was expected, what came, the remedy.
    """

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        """``file:line: what``."""
        return str(self.error())

    def error(self) -> ConfigError:
        """The same as an error to raise."""
        return ConfigError(self.what, file=self.file, line=self.line or None)


OnProblem = Callable[[Problem], None]


def raise_problem(problem: Problem) -> NoReturn:
    """Raise at the first problem: what a reader does unless ``check`` collects them.

    Raises:
        ConfigError: always.
    """
    raise problem.error()


def unknown_points(n: int) -> F32:
    """``(n, 5, 2)`` landmarks nobody knows."""
    return np.full((n, POINTS, 2), np.nan, np.float32)


def _checked(name: str, value: np.ndarray, dtype: type, tail: tuple[int, ...]) -> None:
    if value.dtype != dtype or value.ndim != 1 + len(tail) or value.shape[1:] != tail:
        want = ", ".join(["N", *map(str, tail)])
        raise ValueError(
            f"{name} must be ({want}) {np.dtype(dtype)}, got {value.shape} {value.dtype}"
        )
    value.flags.writeable = False


def _check_labels(labels: Sample | Example) -> None:
    _checked("xyxy", labels.xyxy, np.float32, (4,))
    _checked("class_id", labels.class_id, np.int32, ())
    _checked("landmarks", labels.landmarks, np.float32, (POINTS, 2))
    _checked("weight", labels.weight, np.float32, ())
    lengths = {len(labels.xyxy), len(labels.class_id), len(labels.landmarks), len(labels.weight)}
    if len(lengths) > 1:
        raise ValueError(f"labels of {labels.name} must be equally long, got {sorted(lengths)}")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture with its labels, read-only.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB, upright.
        xyxy: ``(N, 4)`` float32, pixels of ``image``.
        class_id: ``(N,)`` int32, index into the data set's classes.
        landmarks: ``(N, 5, 2)`` float32, pixels of ``image``, NaN where unknown.
        weight: ``(N,)`` float32 in (0, 1]: 1 for a person's label, less for a teacher's.
        name: which picture, unique in its data set.
        group: what it must not be parted from (video, person).
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
        _check_labels(self)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def __len__(self) -> int:
        """N."""
        return len(self.xyxy)

    def __getitem__(self, rows: Rows) -> Self:
        """The same picture with fewer labels."""
        return replace(
            self, xyxy=self.xyxy[rows], class_id=self.class_id[rows],
            landmarks=self.landmarks[rows], weight=self.weight[rows],
        )  # fmt: skip

    def inside(self, least_px: float = 1.0) -> Self:
        """Boxes cut to the picture, those below ``least_px`` dropped, points outside unknown."""
        xyxy = boxes.clip(self.xyxy, self.size_wh)
        out = ((self.landmarks < 0) | (self.landmarks >= self.size_wh)).any(2)  # (N, 5)
        landmarks = np.where(out[..., None], np.float32(np.nan), self.landmarks)
        keep = (xyxy[:, 2:] - xyxy[:, :2] >= least_px).all(1)
        return replace(self, xyxy=xyxy, landmarks=landmarks)[keep]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """The labels of a picture that lies in a file; columns as in ``Sample``.

    Attributes:
        path: the picture's file.
        size_wh: its size in pixels, upright, as the labels understand it.
        label_file: where the labels came from, for messages.
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

    def __post_init__(self) -> None:
        _check_labels(self)

    def __len__(self) -> int:
        """N."""
        return len(self.xyxy)

    def __getitem__(self, rows: Rows) -> Self:
        """The same picture with fewer labels."""
        return replace(
            self, xyxy=self.xyxy[rows], class_id=self.class_id[rows],
            landmarks=self.landmarks[rows], weight=self.weight[rows],
        )  # fmt: skip

    def load(self) -> Sample:
        """Read the picture.

        Raises:
            ConfigError: the file is missing or broken, or not of the size its labels are for.
        """
        picture = picturefile.read(self.path)
        if picture.size_wh != self.size_wh:
            have, want = picture.size_wh, self.size_wh
            raise ConfigError(
                f"{self.path} is {have[0]}x{have[1]} upright, its labels in {self.label_file} "
                f"are for {want[0]}x{want[1]}: label it again"
            )
        return Sample(
            picture.rgb, self.xyxy, self.class_id, self.landmarks, self.weight,
            self.name, self.group,
        )  # fmt: skip


def is_held_out(group: str, fraction: float, seed: int) -> bool:
    """Whether a group belongs to the held-back part; depends on nothing but its name."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Many examples that speak of the same classes.

    Attributes:
        classes: names by class_id.
        examples: in the order of their names.
    """

    classes: tuple[str, ...]
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.examples)

    def __add__(self, other: Dataset) -> Dataset:
        """Both; classes are united by name, names of pictures may repeat."""
        classes = tuple(dict.fromkeys(self.classes + other.classes))
        return Dataset(
            classes,
            tuple(_remap(e, self.classes, classes) for e in self.examples)
            + tuple(_remap(e, other.classes, classes) for e in other.examples),
        )

    def require_examples(self) -> Self:
        """Itself.

        Raises:
            ConfigError: there is no picture, or no picture has a label.
        """
        if not self.examples:
            raise ConfigError("the data set holds no picture: check the folder and its format")
        if not any(len(e) for e in self.examples):
            raise ConfigError(
                f"none of the {len(self)} pictures shows any of {', '.join(self.classes)}: "
                "check the labels and the choice of classes"
            )
        return self

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Part into (rest, held back) by group, never by frame.

        A group's side depends on its name and the seed alone, so adding pictures moves no
        other. The held-back share is therefore only near ``fraction``.

        Raises:
            ConfigError: one side would be empty.
        """
        sides = (
            self.where(lambda e: not is_held_out(e.group, fraction, seed)),
            self.where(lambda e: is_held_out(e.group, fraction, seed)),
        )
        if not all(len(side) for side in sides):
            groups = len({e.group for e in self.examples})
            raise ConfigError(
                f"holding back {fraction:.0%} of {groups} group(s) leaves one side empty: "
                "add pictures of other videos or people, or choose another fraction or seed"
            )
        return sides

    def select(self, classes: Sequence[str]) -> Dataset:
        """Only these classes, renumbered in the order given; every picture stays.

        Raises:
            ConfigError: a class the data set does not have.
        """
        for name in classes:
            if name not in self.classes:
                raise ConfigError(
                    f"class {name!r} is not in the data set, which has {', '.join(self.classes)}"
                )
        wanted = tuple(classes)
        return Dataset(wanted, tuple(_remap(e, self.classes, wanted) for e in self.examples))

    def where(self, keep: Callable[[Example], bool]) -> Dataset:
        """Only the pictures that ``keep`` says yes to."""
        return replace(self, examples=tuple(e for e in self.examples if keep(e)))

    def sha256(self) -> str:
        """Hash of classes, labels and the pictures' bytes: the same hash is the same data.

        Raises:
            ConfigError: a picture cannot be read.
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
    return {
        "data_sha256": training.sha256(),
        "pictures": len(training),
        "held_back": len(validation),
    }


def _remap(example: Example, old: tuple[str, ...], new: tuple[str, ...]) -> Example:
    if old == new:
        return example
    place = np.array([new.index(c) if c in new else -1 for c in old] or [-1], np.int32)
    class_id = place[example.class_id]
    return replace(example, class_id=class_id)[class_id >= 0]


def _file_sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: restore the picture") from error


def group_by_folder(relative: Path) -> str:
    """The group of a picture from its place: its folder, or itself where it lies flat.

    So frames of one video, or pictures of one person, belong in a folder of their own.
    """
    folder = relative.parent.as_posix()
    return relative.with_suffix("").as_posix() if folder == "." else folder
