"""COCO JSON: images, annotations and categories; boxes ``[x, y, w, h]`` in pixels.

Crowds are left out. Five keypoints of category face become landmarks (visibility 0 is
unknown); an annotation's ``score`` becomes its weight. An image's ``group`` is kept.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import ConfigError
from trainers.data.dataset import (
    POINTS,
    Dataset,
    Example,
    OnProblem,
    Problem,
    group_by_folder,
    raise_problem,
)

Json = dict[str, Any]
# fmt: off
COCO = (  # the 80 classes, in the order of the outputs of published models
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


def _read_document(path: Path) -> Json:
    try:
        document: Json = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", file=path, line=error.lineno) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: check the path") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise ConfigError("must be a list: this is not COCO JSON", file=path, key=key)
    return document


def _read_points(note: Json) -> list[float]:
    keypoints = note.get("keypoints") or []
    if len(keypoints) != 3 * POINTS:
        return [np.nan] * 2 * POINTS
    xyv = np.array(keypoints, np.float64).reshape(POINTS, 3)
    return np.where(xyv[:, 2:] > 0, xyv[:, :2], np.nan).ravel().tolist()


def _read_note(note: Json, class_of: dict[int, int], images: set[int]) -> list[float]:
    """16 numbers: class, xyxy, ten landmark coordinates, weight."""
    if note["image_id"] not in images:
        raise ValueError(f"image_id {note['image_id']} does not exist among the images")
    if note["category_id"] not in class_of:
        raise ValueError(f"category_id {note['category_id']} does not exist among the categories")
    x, y, w, h = (float(v) for v in note["bbox"])
    if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0):
        raise ValueError(f"bbox must be [x, y, w, h] with positive w and h, got {note['bbox']}")
    weight = float(note.get("score", 1.0))
    if not 0 < weight <= 1:
        raise ValueError(f"score must be in (0, 1], got {weight}")
    return [class_of[note["category_id"]], x, y, x + w, y + h, *_read_points(note), weight]


def _read_rows(path: Path, document: Json, on_problem: OnProblem) -> dict[int, list[list[float]]]:
    class_of = {c["id"]: n for n, c in enumerate(document["categories"])}
    images = {i["id"] for i in document["images"]}
    rows: dict[int, list[list[float]]] = defaultdict(list)
    for n, note in enumerate(document["annotations"]):
        if note.get("iscrowd"):
            continue
        try:
            rows[note["image_id"]].append(_read_note(note, class_of, images))
        except (ValueError, TypeError) as error:
            on_problem(Problem(path, 0, f"annotations[{n}] (id {note.get('id')}): {error}"))
        except KeyError as error:
            on_problem(Problem(path, 0, f"annotations[{n}] (id {note.get('id')}): lacks {error}"))
    return rows


def read_coco(
    path: Path,
    images: Path | None = None,
    on_problem: OnProblem = raise_problem,
    group: Callable[[Path], str] = group_by_folder,
) -> Dataset:
    """Read the data set of a JSON file.

    The pictures lie in ``images`` beside the JSON or in its own folder, unless ``images`` is given.
    ``group`` turns a picture's file name into its group, where the image names none.

    Raises:
        ConfigError: There is a problem and ``on_problem`` is not given.
    """
    document = _read_document(path)
    if images is None:
        beside = path.parent / "images"
        images = beside if beside.is_dir() else path.parent
    try:
        rows = _read_rows(path, document, on_problem)
        classes = tuple(str(c["name"]) for c in document["categories"])
        examples = [
            _example(path, images / i["file_name"], i, rows.get(i["id"], []), group)
            for i in document["images"]
        ]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: an image or category lacks {error}") from error
    return Dataset(classes, tuple(sorted(examples, key=lambda e: e.name)))


def _example(path: Path, picture: Path, image: Json, rows: list[list[float]],
             group: Callable[[Path], str]) -> Example:  # fmt: skip
    table = np.array(rows, np.float64).reshape(-1, 6 + 2 * POINTS)
    relative = Path(image["file_name"])
    return Example(
        path=picture,
        size_wh=(int(image["width"]), int(image["height"])),
        xyxy=table[:, 1:5].astype(np.float32),
        class_id=table[:, 0].astype(np.int32),
        landmarks=table[:, 5:-1].reshape(-1, POINTS, 2).astype(np.float32),
        weight=table[:, -1].astype(np.float32),
        name=relative.with_suffix("").as_posix(),
        group=str(image.get("group") or group(relative)),
        label_file=path,
    )


def to_coco(dataset: Dataset, images: Path | None = None) -> Json:
    """The data set as a COCO document, for other tools and for pycocotools.

    File names are relative to ``images``, or plain names without it.
    """
    notes: list[Json] = []
    pictures: list[Json] = []
    for n, e in enumerate(dataset.examples, 1):
        name = e.path.relative_to(images).as_posix() if images else e.path.name
        pictures.append({"id": n, "file_name": name, "width": e.size_wh[0],
                         "height": e.size_wh[1], "group": e.group})  # fmt: skip
        for xyxy, c, five, w in zip(e.xyxy, e.class_id, e.landmarks, e.weight, strict=True):
            notes.append(_note(len(notes) + 1, n, xyxy.astype(np.float64), int(c), five, float(w)))
    categories = [{"id": n, "name": c} for n, c in enumerate(dataset.classes, 1)]
    return {"images": pictures, "annotations": notes, "categories": categories}


def _note(
    note_id: int, image_id: int, xyxy: np.ndarray, class_id: int, five: np.ndarray, weight: float
) -> Json:
    w, h = (xyxy[2:] - xyxy[:2]).tolist()
    note: Json = {
        "id": note_id, "image_id": image_id, "category_id": class_id + 1,
        "bbox": [*xyxy[:2].tolist(), w, h], "area": w * h, "iscrowd": 0,
    }  # fmt: skip
    if weight != 1:
        note["score"] = weight
    if np.isfinite(five).any():
        known = np.isfinite(five).all(1)
        xyv = np.column_stack([np.where(known[:, None], five, 0), np.where(known, 2, 0)])
        note["keypoints"] = xyv.ravel().tolist()
        note["num_keypoints"] = int(known.sum())
    return note
