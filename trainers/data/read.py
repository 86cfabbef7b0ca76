"""Reading a data set whatever its format: the folder or file says which."""

from __future__ import annotations

from pathlib import Path

from edge.errors import ConfigError
from trainers.data.coco import read_coco
from trainers.data.dataset import Dataset, OnProblem, refuse
from trainers.data.face_csv import read_facecsv
from trainers.data.voc import read_voc
from trainers.data.yolo import read_yolo


def read_dataset(path: Path, on_problem: OnProblem = refuse) -> Dataset:
    """COCO JSON, Pascal VOC, YOLO text or a table of faces.

    Args:
        path: ``x.json`` (COCO), ``labels.csv`` (faces), or a folder that holds ``labels.csv``,
            ``classes.txt`` with ``labels/`` (YOLO), ``annotations/*.xml`` (VOC) or one
            ``*.json`` in itself or in ``annotations/``.
        on_problem: told of every problem; raises at the first unless given.

    Raises:
        ConfigError: no such path or format, or a problem with the data.
    """
    if path.suffix == ".json":
        return read_coco(path, on_problem=on_problem)
    if path.suffix == ".csv":
        return read_facecsv(path, on_problem)
    if (path / "labels.csv").is_file():
        return read_facecsv(path / "labels.csv", on_problem)
    if (path / "classes.txt").is_file():
        return read_yolo(path, on_problem)
    if any(path.glob("[aA]nnotations/**/*.xml")):
        return read_voc(path, on_problem=on_problem)
    documents = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    if len(documents) == 1:
        images = path / "images"
        return read_coco(documents[0], images if images.is_dir() else None, on_problem)
    if len(documents) > 1:
        raise ConfigError(f"{path} holds {len(documents)} JSON files: name the one to read")
    raise ConfigError(
        f"{path} is no data set: expected COCO (x.json), Pascal VOC (annotations/*.xml), "
        "YOLO (classes.txt, labels/, images/) or faces (labels.csv)"
    )


def read_face_dataset(path: Path) -> Dataset:
    """Read a data set whose only class is ``face``.

    Raises:
        ConfigError: it labels something else, or no picture has a label.
    """
    dataset = read_dataset(path).require_examples()
    if set(dataset.classes) != {"face"}:
        raise ConfigError(
            f"{path} labels {', '.join(dataset.classes)}: liveness needs boxes of class face; "
            "pass it as --people, so that faces are detected in it"
        )
    return dataset
