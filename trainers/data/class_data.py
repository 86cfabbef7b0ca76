"""Pictures and parts of pictures with a class, for classifiers, in three forms.

- A folder for each class, ``DIR/CLASS/**/*.jpg``: each picture is one sample. A folder within a
  class's is a group (a track, a person), which no split parts.
- A data set of boxes (COCO, Pascal VOC, YOLO): each box is one sample.
- A table, ``x.csv`` with columns ``file`` and ``class``, and as one likes ``x1,y1,x2,y2`` (pixels),
  ``group`` and ``part`` (train, val or test). Where labels are independent, ``class`` names several
  with ``;`` between; a whole picture may have none.

What comes out is a `Dataset`, of which each row is a sample; rows with equal boxes are one sample
with several labels.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.types import F32
from trainers.data import image_file
from trainers.data.dataset import Dataset, Example, Part, Problem, unknown_points
from trainers.data.picture_folder import find_pictures, list_some
from trainers.data.read import is_dataset, read_dataset

MAX_CLASSES = 1000
LEAST_SAMPLES = 2  # of a class: one to learn from, one held out


@dataclass(frozen=True, slots=True, eq=False)
class LabeledCrop:
    """One sample: a part of a picture and its labels.

    Attributes:
        example: Its place among the data set's pictures.
        xyxy: ``(4,)`` float32, pixels of the picture.
        class_ids: Its labels; one, but for independent ones.
    """

    example: int
    xyxy: F32
    class_ids: tuple[int, ...]


def read_class_data(path: Path) -> Dataset:
    """Read class folders, a table, or a data set of boxes, recognized by the files.

    Raises:
        ConfigError: There is no such path or format, or a problem with the data.
    """
    if path.suffix.lower() == ".csv":
        return _read_table(path)
    if not path.is_dir() and path.suffix.lower() != ".json":
        raise ConfigError("no folder of classes, table (.csv) or data set", file=path)
    folders = _find_class_folders(path) if path.is_dir() else []
    if path.suffix.lower() == ".json" or is_dataset(path):
        return _refuse_mixture(path, folders, read_dataset(path))
    if not folders:
        raise ConfigError(
            "no data: expected a folder with pictures for each class, a table (x.csv) or a data "
            "set of boxes",
            file=path,
        )
    return _read_folders(path, folders)


def list_crops(dataset: Dataset) -> list[LabeledCrop]:
    """The samples of a data set; a picture without any row is one sample without a label."""
    crops = []
    for index, example in enumerate(dataset.examples):
        if not len(example):
            whole = np.array([0, 0, *example.size_wh], np.float32)
            crops.append(LabeledCrop(index, whole, ()))
        found: dict[bytes, list[int]] = {}
        for row, class_id in zip(example.xyxy, example.class_id, strict=True):
            found.setdefault(row.tobytes(), []).append(int(class_id))
        crops += [
            LabeledCrop(index, np.frombuffer(box, np.float32), tuple(sorted(set(ids))))
            for box, ids in found.items()
        ]
    return crops


def encode(crops: Sequence[LabeledCrop], classes: int) -> F32:
    """``(N, K)`` labels, 0 or 1."""
    labels = np.zeros((len(crops), classes), np.float32)
    for row, crop in enumerate(crops):
        labels[row, list(crop.class_ids)] = 1
    return labels


def require_one_class_each(dataset: Dataset) -> Dataset:
    """The pictures with a label, if no sample has several.

    Raises:
        ConfigError: One has.
    """
    for crop in list_crops(dataset):
        if len(crop.class_ids) > 1:
            names = list_some([dataset.classes[row] for row in crop.class_ids])
            raise ConfigError(
                f"A sample is of several classes ({names}): if several may hold at once, give "
                "--independent.",
                file=dataset.examples[crop.example].path,
            )
    return dataset.where(lambda e: len(e) > 0)


def take_classes(dataset: Dataset, classes: Sequence[str], *, independent: bool) -> Dataset:
    """The samples with which a classifier of these classes can be judged, numbered as it does.

    Raises:
        ConfigError: They have no class in common, or a sample has several classes of which only
            one can hold.
    """
    shared = [name for name in dataset.classes if name in classes]
    if not shared:
        raise ConfigError(
            f"The model knows {', '.join(classes)}, the data {', '.join(dataset.classes)}: they "
            "have no class in common."
        )
    same = (Dataset(tuple(classes), ()) + dataset).select(classes)
    return same if independent else require_one_class_each(same).require_examples()


def require_classes(dataset: Dataset) -> Dataset:
    """Return the data set if a classifier can learn it.

    Raises:
        ConfigError: It has one class, too many, classes that differ by case, or one with fewer
            than `LEAST_SAMPLES` samples.
    """
    names = dataset.classes
    folded = Counter(name.casefold() for name in names)
    if twice := [name for name in names if folded[name.casefold()] > 1]:
        raise ConfigError(f"Classes differ only by case ({list_some(twice)}): rename one.")
    if len(names) < 2:
        raise ConfigError(f"There is {len(names)} class: a classifier needs two or more.")
    _refuse_many(len(names))
    count = Counter(row for crop in list_crops(dataset) for row in crop.class_ids)
    few = [name for row, name in enumerate(names) if count[row] < LEAST_SAMPLES]
    if few:
        raise ConfigError(
            f"{list_some(few)}: fewer than {LEAST_SAMPLES} samples of a class, so that none is "
            "left to learn from or to hold out: add some, or leave the class out (--classes)."
        )
    return dataset


def _refuse_many(classes: int) -> None:
    if classes > MAX_CLASSES:
        raise ConfigError(
            f"There are {classes} classes, {MAX_CLASSES} may be: is each folder, or each value in "
            "the column class, a class?"
        )


def _find_class_folders(path: Path) -> list[Path]:
    return [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith((".", "@"))]


def _refuse_mixture(path: Path, folders: Sequence[Path], dataset: Dataset) -> Dataset:
    """The data set, unless folders beside its labels look like classes."""
    labeled = {example.path.resolve() for example in dataset.examples}
    loose = [
        folder.name
        for folder in folders
        if (found := find_pictures(folder)[0]) and labeled.isdisjoint(p.resolve() for p in found)
    ]
    if len(loose) > 1:
        raise ConfigError(
            "This folder holds a data set of boxes, and folders of pictures that it does not label "
            f"({list_some(loose)}): if these are classes, move them elsewhere and name both.",
            file=path,
        )
    return dataset


def _read_folders(path: Path, folders: list[Path]) -> Dataset:
    _refuse_many(len(folders))  # before many pictures are read
    examples, notes = [], list[Problem]()
    loose = [p.name for p in find_pictures(path)[0] if p.parent == path]
    if loose:
        raise ConfigError(
            f"{len(loose)} picture(s) lie beside the folders of classes ({list_some(loose)}): "
            "move them into one.",
            file=path,
        )
    for class_id, folder in enumerate(folders):
        pictures, told = find_pictures(folder)
        notes += told
        if not pictures:
            raise ConfigError("This class has no picture: add some or remove it.", file=folder)
        for file in pictures:
            within = file.relative_to(folder).parent.as_posix()
            relative = file.relative_to(path)
            group = f"{folder.name}/{within}" if within != "." else relative.as_posix()
            examples.append(_whole(file, relative.as_posix(), group, (class_id,)))
    return Dataset(tuple(f.name for f in folders), tuple(examples), tuple(notes))


def _whole(file: Path, name: str, group: str, class_ids: tuple[int, ...]) -> Example:
    """A picture that is one sample."""
    size_wh = image_file.size_wh(file)
    xyxy = np.tile(np.array([0, 0, *size_wh], np.float32), (len(class_ids), 1))
    return _example(file, size_wh, name, group, xyxy, class_ids)


def _example(
    file: Path, size_wh: tuple[int, int], name: str, group: str, xyxy: F32,
    class_ids: tuple[int, ...], part: Part = "",
) -> Example:  # fmt: skip
    count = len(class_ids)
    return Example(
        file, size_wh, xyxy.reshape(-1, 4), np.array(class_ids, np.int32), unknown_points(count),
        np.ones(count, np.float32), name, group, file, part,
    )  # fmt: skip


def _read_table(path: Path) -> Dataset:
    rows = list(_read_rows(path))
    names = sorted({name for _, row in rows for name in _split(row["class"])})
    _refuse_many(len(names))
    by_file: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        by_file.setdefault(row["file"], []).append((line, row))
    examples = []
    for name, of_file in by_file.items():
        begin, first = of_file[0]
        file = path.parent / name
        if not file.is_file():
            raise ConfigError(f"There is no picture {name!r} beside it.", file=path, line=begin)
        size_wh = image_file.size_wh(file)
        boxes, ids = list[F32](), list[int]()
        for number, row in of_file:
            box = _parse_box(path, number, row, size_wh)
            labels = [names.index(label) for label in _split(row["class"])]
            if not labels and len(of_file) > 1:
                raise ConfigError(
                    "a part of a picture without a class: only a whole picture may have none",
                    file=path, line=number,
                )  # fmt: skip
            boxes += [box] * len(labels)
            ids += labels
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        group, part = first.get("group") or name, _read_part(path, of_file)
        examples.append(_example(file, size_wh, name, group, xyxy, tuple(ids), part))
    return Dataset(tuple(names), tuple(examples))


def _read_part(path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> Part:
    """The part that all rows of a picture name."""
    parts = {row.get("part", "").strip() for _, row in rows}
    for part in ("", "train", "val", "test"):
        if parts == {part}:
            return part
    raise ConfigError(
        f"the part is {' and '.join(sorted(parts))}: expected train, val or test, the same for all "
        "rows of a picture",
        file=path, line=rows[0][0],
    )  # fmt: skip


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"file", "class"} - set(reader.fieldnames or ())
            if missing:
                raise ConfigError(
                    f"no column {' or '.join(sorted(missing))}: the first line names the columns, "
                    "file and class among them",
                    file=path, line=1,
                )  # fmt: skip
            for row in reader:
                yield reader.line_num, {k: v or "" for k, v in row.items() if isinstance(k, str)}
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(f"This table cannot be read ({error}).", file=path) from error


def _parse_box(path: Path, line: int, row: Mapping[str, str], size_wh: tuple[int, int]) -> F32:
    texts = [row.get(key, "").strip() for key in ("x1", "y1", "x2", "y2")]
    if not any(texts):
        return np.array([0, 0, *size_wh], np.float32)
    try:
        box = np.array([float(text) for text in texts], np.float32)
    except ValueError:
        box = np.full(4, np.nan, np.float32)
    width, height = size_wh
    inside = box[0] < box[2] and box[1] < box[3] and box[2] > 0 < box[3] and box[0] < width
    if not (np.isfinite(box).all() and inside and box[1] < height):
        raise ConfigError(
            f"the box {', '.join(texts)} is none of this picture of {width}x{height}",
            file=path, line=line,
        )  # fmt: skip
    return box
