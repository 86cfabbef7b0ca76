"""Read a data set of any known format, recognized by its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.errors import ConfigError
from trainers.data import image_file
from trainers.data.coco import read_coco
from trainers.data.dataset import (
    IMAGE_SUFFIXES,
    Dataset,
    Example,
    OnProblem,
    no_labels,
    raise_problem,
)
from trainers.data.face_csv import read_face_csv
from trainers.data.voc import read_voc
from trainers.data.yolo import read_yolo


def read_dataset(path: Path, on_problem: OnProblem = raise_problem) -> Dataset:
    """Read COCO JSON, Pascal VOC, YOLO text or a table of faces.

    The path is ``x.json`` (COCO), ``labels.csv`` (faces), or a folder that holds ``labels.csv``,
    ``classes.txt`` with ``labels/`` (YOLO), ``annotations/*.xml`` (VOC) or one ``*.json`` in itself
    or in ``annotations/``. ``on_problem`` gets every problem; unless given, the first is raised.

    Raises:
        ConfigError: There is no such path or format, or a problem with the data.
    """
    if path.suffix == ".json":
        return read_coco(path, on_problem=on_problem)
    if path.suffix == ".csv":
        return read_face_csv(path, on_problem)
    if (path / "labels.csv").is_file():
        return read_face_csv(path / "labels.csv", on_problem)
    if (path / "classes.txt").is_file():
        return read_yolo(path, on_problem)
    if any(path.glob("[aA]nnotations/**/*.xml")):
        return read_voc(path, on_problem=on_problem)
    documents = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    if len(documents) == 1:
        images = path / "images"
        return read_coco(documents[0], images if images.is_dir() else None, on_problem)
    if len(documents) > 1:
        raise ConfigError(f"{path} holds {len(documents)} JSON files: name the one to read.")
    raise ConfigError(
        f"{path} is not a data set: expected COCO (x.json), Pascal VOC (annotations/*.xml), "
        "YOLO (classes.txt, labels/, images/) or faces (labels.csv)."
    )


def read_face_dataset(path: Path) -> Dataset:
    """Read a data set whose only class is ``face``.

    Raises:
        ConfigError: It labels something else, or no picture has a label.
    """
    dataset = read_dataset(path).require_examples()
    if set(dataset.classes) != {"face"}:
        raise ConfigError(
            f"{path} labels {', '.join(dataset.classes)}: liveness needs boxes of class face; "
            "pass it as --people, so that faces are detected in it"
        )
    return dataset


def read_negatives(folders: Sequence[Path]) -> Dataset:
    """Read images that show no face.

    Of data sets that label people, the images without a person are taken; other folders whole.
    """
    examples = []
    for folder in folders:
        for path in _find_without_people(folder) or find_images(folder):
            examples.append(
                Example(
                    path, image_file.size_wh(path), **no_labels(), name=path.stem, group=path.stem,
                    label_file=path,
                )
            )  # fmt: skip
    return Dataset(("face",), tuple(examples))


def _find_without_people(folder: Path) -> list[Path]:
    """The images without a person of a data set that labels people; else none."""
    try:
        dataset = read_dataset(folder)
    except ConfigError:
        return []
    if "person" not in dataset.classes:
        return []
    person = dataset.classes.index("person")
    return [example.path for example in dataset.examples if person not in example.class_id]


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
