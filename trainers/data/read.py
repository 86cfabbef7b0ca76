"""Read a data set of any known format, recognized by its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge.errors import ConfigError
from trainers.data import image_file
from trainers.data.coco import read_coco
from trainers.data.dataset import (
    Dataset,
    Example,
    OnProblem,
    Problem,
    no_labels,
    raise_problem,
)
from trainers.data.face_csv import read_face_csv
from trainers.data.picture_folder import find_pictures
from trainers.data.voc import read_voc
from trainers.data.yolo import read_yolo
from trainers.data.yolo_layout import find_class_file, part_of

_VOC = ("[aA]nnotations/**/*.xml", "*.xml", "*/*.xml")
_PEOPLE = ("person", "face")
_COCO = ("*.json", "annotations/*.json", "*/_annotations.coco.json")


def read_dataset(path: Path, on_problem: OnProblem = raise_problem) -> Dataset:
    """Read COCO JSON, Pascal VOC, YOLO text or a table of faces.

    The path is ``x.json`` (COCO), ``labels.csv`` (faces), ``data.yaml`` (YOLO), or a folder in the
    layout of Roboflow, ultralytics, CVAT, Label Studio, labelImg or of this project: with
    ``labels.csv``, ``data.yaml``, ``classes.txt`` or ``obj.names`` (YOLO), XML files (VOC) or JSON
    files in itself, in ``annotations/`` or in a folder of each part. ``on_problem`` gets every
    problem; unless given, the first is raised.

    Raises:
        ConfigError: There is no such path or format, or a problem with the data.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_coco(path, on_problem=on_problem)
    if suffix == ".csv":
        return read_face_csv(path, on_problem)
    if (path / "labels.csv").is_file():
        return read_face_csv(path / "labels.csv", on_problem)
    if find_class_file(path):
        return read_yolo(path, on_problem)
    if any(p for pattern in _VOC for p in path.glob(pattern)):
        return read_voc(path, on_problem=on_problem)
    documents = _find_documents(path)
    if len(documents) == 1:
        return read_coco(documents[0], path, on_problem)
    if documents:
        return _read_coco_parts(path, documents, on_problem)
    raise ConfigError(
        f"{path} is not a data set: expected COCO (x.json), Pascal VOC (*.xml), YOLO (data.yaml, "
        "or classes.txt with labels/ and images/) or faces (labels.csv)."
    )


def is_dataset(path: Path) -> bool:
    """Whether a folder has the files of a data set, readable or not."""
    if path.suffix.lower() in (".json", ".csv"):
        return True
    beside = (path / "labels.csv").is_file() or find_class_file(path) is not None
    voc = any(p for pattern in _VOC for p in path.glob(pattern))
    return beside or voc or bool(_find_documents(path))


def _find_documents(path: Path) -> list[Path]:
    """The COCO files of a folder: of boxes, where it holds others too."""
    found = [p for pattern in _COCO for p in sorted(path.glob(pattern)) if p.name != "notes.json"]
    return [p for p in found if p.name.startswith("instances_")] or found


def _read_coco_parts(path: Path, documents: Sequence[Path], on_problem: OnProblem) -> Dataset:
    """Read a file for each part of the data set's own split.

    Raises:
        ConfigError: The files are not called after parts, or there is a problem with the data.
    """
    parts = {part_of(d.stem) or part_of(d.parent.name): d for d in documents}
    if len(parts) < len(documents) or "" in parts:
        raise ConfigError(f"{path} holds {len(documents)} JSON files: name the one to read.")
    whole = Dataset((), ())
    for part, document in parts.items():
        beside = document.name == "_annotations.coco.json"
        one = read_coco(document, document.parent if beside else path, on_problem)
        examples = tuple(replace(e, part=part, name=f"{part}/{e.name}") for e in one.examples)
        notes = tuple(n for n in one.notes if beside or n.file == document)
        whole = whole + replace(one, examples=examples, notes=notes)
    return whole


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

    Of data sets that label people or faces, the images without any are taken; other folders whole.

    Raises:
        ConfigError: A folder holds no such image, or one cannot be read.
    """
    examples, notes = [], list[Problem]()
    for folder in folders:
        pictures, told = _find_without_people(folder)
        if not pictures:
            why = "".join(f"; {note.what}" for note in told)
            raise ConfigError(f"{folder} holds no picture without a person{why}")
        notes += told
        for path in pictures:
            examples.append(
                Example(
                    path, image_file.size_wh(path), **no_labels(), name=path.stem, group=path.stem,
                    label_file=path,
                )
            )  # fmt: skip
    return Dataset(("face",), tuple(examples), tuple(notes))


def _find_without_people(folder: Path) -> tuple[list[Path], list[Problem]]:
    """The images without a person of a data set that labels people, else all of a folder."""
    pictures, notes = find_pictures(folder)
    if not is_dataset(folder):
        return pictures, notes
    try:
        dataset = read_dataset(folder)
    except ConfigError as error:
        what = f"labels cannot be read ({error}): all {len(pictures)} pictures count as faceless"
        return pictures, [*notes, Problem(folder, 0, what)]
    people = [dataset.classes.index(name) for name in _PEOPLE if name in dataset.classes]
    if not people:
        what = f"no class is person or face: all {len(pictures)} pictures count as faceless"
        return pictures, [*notes, Problem(folder, 0, what, harmless=True)]
    empty = [e.path for e in dataset.examples if not set(people) & set(e.class_id.tolist())]
    what = f"{len(dataset) - len(empty)} picture(s) with a person or face are left out"
    return empty, [*dataset.notes, Problem(folder, 0, what, harmless=True)]
