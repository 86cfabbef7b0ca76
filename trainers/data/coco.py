"""COCO JSON: images, annotations and categories; boxes ``[x, y, w, h]`` in pixels.

Crowds are left out. Five keypoints of category face become landmarks (visibility 0 is
unknown); an annotation's ``score`` becomes its weight. An image's ``group`` is kept.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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
from trainers.data.image_file import size_wh
from trainers.data.picture_folder import find_pictures, list_some
from trainers.data.text_file import read_text

Json = dict[str, Any]
_DRIVE = re.compile(r"[A-Za-z]:/")
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
        document: Json = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", file=path, line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(
            "nested too deeply, or a number too long: not COCO.", file=path
        ) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise ConfigError("must be a list: this is not COCO JSON", file=path, key=key)
        for n, entry in enumerate(document[key]):
            if not isinstance(entry, dict):
                raise ConfigError("must be an object: correct it", file=path, key=f"{key}[{n}]")
    return document


def _read_points(note: Json) -> list[float]:
    keypoints = note.get("keypoints") or []
    if len(keypoints) != 3 * POINTS:
        return [np.nan] * 2 * POINTS
    xyv = np.array(keypoints, np.float64).reshape(POINTS, 3)
    return np.where(xyv[:, 2:] > 0, xyv[:, :2], np.nan).ravel().tolist()


def _read_box(note: Json) -> tuple[float, float, float, float]:
    """x, y, w, h: of ``bbox``, or around the polygons where there is none."""
    box, outline = note.get("bbox"), note.get("segmentation")
    if box:
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"bbox must be [x, y, w, h], got {str(box)[:80]}")
        x, y, w, h = (float(v) for v in box)
    elif outline and isinstance(outline, list):
        corners = np.concatenate([np.array(o, np.float64).reshape(-1, 2) for o in outline])
        (x, y), (w, h) = corners.min(0).tolist(), np.ptp(corners, axis=0).tolist()
    else:
        raise ValueError("has neither a bbox [x, y, w, h] nor a polygon: add one or drop it")
    if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0):
        raise ValueError(f"bbox must be [x, y, w, h] with positive w and h, got {box}")
    return x, y, w, h


def _read_note(note: Json, class_of: dict[str, int], images: set[str]) -> list[float]:
    """16 numbers: class, xyxy, ten landmark coordinates, weight."""
    if str(note["image_id"]) not in images:
        raise ValueError(f"image_id {note['image_id']} does not exist among the images")
    if str(note["category_id"]) not in class_of:
        raise ValueError(f"category_id {note['category_id']} does not exist among the categories")
    x, y, w, h = _read_box(note)
    weight = float(note.get("score", 1.0))
    if not 0 < weight <= 1:
        raise ValueError(f"score must be in (0, 1], got {weight}")
    c = class_of[str(note["category_id"])]
    return [c, x, y, x + w, y + h, *_read_points(note), weight]


class _Document:
    """A COCO file that is being read; ids are compared as text."""

    def __init__(self, path: Path, document: Json, on_problem: OnProblem) -> None:
        self.path = path
        self.notes: list[Problem] = []
        self._document = document
        self._on_problem = on_problem
        self.classes, self._class_of = self._read_categories()

    def tell(self, what: str, *, harmless: bool = False) -> None:
        """Note what was read in another way than written."""
        self.notes.append(Problem(self.path, 0, what, harmless))

    def _read_categories(self) -> tuple[tuple[str, ...], dict[str, int]]:
        categories = self._document["categories"]
        used = {str(note.get("category_id")) for note in self._document["annotations"]}
        parents = {str(c.get("supercategory")) for c in categories}
        names: list[str] = []
        class_of: dict[str, int] = {}
        for n, category in enumerate(categories):
            name, key = str(category["name"]).strip(), str(category["id"])
            unused = key not in used
            if unused and (not name or (name in parents and name != category.get("supercategory"))):
                self.tell(f"category {key} {name!r} labels nothing: it is left out", harmless=True)
                continue
            if not name or not name.isprintable():
                raise ConfigError(
                    f"must be a printable name, got {name[:60]!r}: name the category.",
                    file=self.path, key=f"categories[{n}].name",
                )  # fmt: skip
            if name in names:
                self.tell(f"several categories are called {name!r}: they are one class")
            else:
                names.append(name)
            class_of[key] = names.index(name)
        return tuple(names), class_of

    def read_rows(self) -> dict[str, list[list[float]]]:
        """The labels of each image."""
        images = {str(i["id"]) for i in self._document["images"]}
        rows: dict[str, list[list[float]]] = defaultdict(list)
        outlines = 0
        for n, note in enumerate(self._document["annotations"]):
            if note.get("iscrowd"):
                continue
            where = f"annotations[{n}] (id {note.get('id')})"
            try:
                rows[str(note["image_id"])].append(_read_note(note, self._class_of, images))
                outlines += not note.get("bbox")
            except (ValueError, TypeError, AttributeError, IndexError) as error:
                self._on_problem(Problem(self.path, 0, f"{where}: {error}"))
            except KeyError as error:
                self._on_problem(Problem(self.path, 0, f"{where}: lacks {error}"))
        if outlines:
            self.tell(f"{outlines} polygon(s) became their bounding boxes", harmless=True)
        return rows


class _Pictures:
    """The pictures of a data set, found by the names that another machine gave them."""

    def __init__(self, path: Path, images: Path | None) -> None:
        beside = path.parent / "images"
        self._folders = [beside, path.parent]
        if images is not None:
            below = part_folders(images, path)
            self._folders = [*below, images / "images", images, *self._folders]
        self._root = images if images is not None else self._folders[1]
        self._by_name: dict[str, list[Path]] = {}
        self.notes: list[Problem] = []

    def _index(self) -> dict[str, list[Path]]:
        """All pictures below the root, by file name."""
        if not self._by_name:
            pictures, self.notes = find_pictures(self._root)
            for picture in pictures:
                self._by_name.setdefault(picture.name, []).append(picture)
        return self._by_name

    def find(self, file_name: str) -> Path:
        """The picture; where there is none, where it should be.

        Raises:
            ValueError: Several pictures may be meant.
        """
        plain = file_name.replace("\\", "/")
        for name in (plain, unquote(plain), plain.split("/images/")[-1].removeprefix("images/")):
            for folder in self._folders:
                if len(name) < 4096 and "\0" not in name and _is_file(folder / name):
                    return folder / name
        last = plain.rsplit("/", 1)[-1]
        found = self._index().get(last) or self._index().get(unquote(last)) or []
        if len(found) > 1:
            raise ValueError(f"{len(found)} pictures are called {last}: give the folder")
        return found[0] if found else self._folders[0 if self._folders[0].is_dir() else -1] / plain

    def tell_unread(self, used: set[Path]) -> list[Problem]:
        """What lies below the root and is not read, and pictures that the file does not name."""
        every = [p for paths in self._index().values() for p in paths]
        lone = sorted(p.name for p in every if p not in used)
        notes = list(self.notes)
        if lone:
            what = f"{len(lone)} picture(s) are not in this file: {list_some(lone)}"
            notes.append(Problem(self._root, 0, what))
        return notes


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def part_folders(root: Path, document: Path) -> list[Path]:
    """Where the pictures of ``instances_train2017.json`` lie: in folders of that name."""
    name = document.stem.removeprefix("instances_")
    candidates = (root / "images" / name, root / name)
    return [folder for folder in candidates if folder.is_dir()]


def read_coco(
    path: Path,
    images: Path | None = None,
    on_problem: OnProblem = raise_problem,
    group: Callable[[Path], str] = group_by_folder,
) -> Dataset:
    """Read the data set of a JSON file.

    The pictures lie in ``images`` beside the JSON or in its own folder, or somewhere below the
    folder ``images``, if that is given. Paths of another machine are found by their file name.
    ``group`` turns a picture's file name into its group, where the image names none.

    Raises:
        ConfigError: There is a problem and ``on_problem`` is not given.
    """
    content = _read_document(path)
    pictures = _Pictures(path, images)
    examples: list[Example] = []
    try:
        document = _Document(path, content, on_problem)
        rows = document.read_rows()
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: an image or category lacks {error}") from error
    for n, image in enumerate(content["images"]):
        try:
            own = rows.get(str(image["id"]), [])
            picture = pictures.find(str(image["file_name"]))
            examples.append(_example(path, picture, image, own, group))
        except KeyError as error:
            raise ConfigError(f"{path}: an image or category lacks {error}") from error
        except ConfigError as error:  # of a picture without a size here
            on_problem(Problem(picture, 0, error.problem))
        except (ValueError, TypeError) as error:
            on_problem(Problem(path, 0, f"images[{n}]: {error}"))
    document.notes += pictures.tell_unread({e.path for e in examples})
    ordered = tuple(sorted(examples, key=lambda e: e.name))
    return Dataset(document.classes, ordered, tuple(document.notes))


def _example(path: Path, picture: Path, image: Json, rows: list[list[float]],
             group: Callable[[Path], str]) -> Example:  # fmt: skip
    table = np.array(rows, np.float64).reshape(-1, 6 + 2 * POINTS)
    relative = Path(image["file_name"].replace("\\", "/"))
    if (
        relative.is_absolute()
        or relative.parts[:1] in (("..",), ("images",))
        or _DRIVE.match(str(relative))
    ):
        relative = Path(relative.name)
    sized = image.get("width") and image.get("height")
    return Example(
        path=picture,
        size_wh=(int(image["width"]), int(image["height"])) if sized else size_wh(picture),
        xyxy=table[:, 1:5].astype(np.float32),
        class_id=table[:, 0].astype(np.int32),
        landmarks=table[:, 5:-1].reshape(-1, POINTS, 2).astype(np.float32),
        weight=table[:, -1].astype(np.float32),
        name=relative.with_suffix("").as_posix(),
        group=str(image.get("group") or group(relative).split(".rf.")[0]),
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
