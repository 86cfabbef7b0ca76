"""Pascal VOC: ``annotations/NAME.xml`` beside ``images/``, boxes in pixels.

Pixel coordinates are read as they are: labeling tools disagree on whether the first pixel is 0 or
1, which is less than the precision of hand-drawn boxes. Objects marked difficult are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np

from edge.errors import ConfigError
from trainers.data import image_file
from trainers.data.dataset import (
    IMAGE_SUFFIXES,
    Dataset,
    Example,
    OnProblem,
    Part,
    Problem,
    group_by_folder,
    raise_problem,
    unknown_points,
)
from trainers.data.picture_folder import find_pictures, is_hidden, list_some
from trainers.data.text_file import read_text
from trainers.data.yolo_layout import part_of

_SETS: dict[Part, str] = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(slots=True)
class _Object:
    line: int
    text: dict[str, str] = field(default_factory=dict)


class _Document:
    """An annotation file as it is being read, with the lines of its objects."""

    def __init__(self) -> None:
        self.filename = ""
        self.objects: list[_Object] = []
        self._open: list[str] = []
        self._text = ""
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def parse(self, text: bytes) -> None:
        self._parser.Parse(text, True)

    def _doctype(self, *_: object) -> None:
        raise ValueError("a DOCTYPE has no place in an annotation: remove it")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = ""
        if self._open[1:] == ["object"]:
            self.objects.append(_Object(self._parser.CurrentLineNumber))

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, tag: str) -> None:
        path = self._open[1:]
        if path == ["filename"]:
            self.filename = self._text.strip()
        elif path[:1] == ["object"] and path[1:] in (["name"], *(["bndbox", s] for s in _SIDES)):
            self.objects[-1].text[tag] = self._text.strip()
        self._open.pop()
        self._text = ""


@dataclass(frozen=True, slots=True)
class _VocRow:
    name: str
    xyxy: tuple[float, ...]


def _read_object(item: _Object) -> _VocRow:
    missing = [tag for tag in ("name", *_SIDES) if not item.text.get(tag)]
    if missing:
        raise ValueError(f"an object lacks <{missing[0]}>: add it or drop the object")
    try:
        xyxy = tuple(float(item.text[side]) for side in _SIDES)
    except ValueError:
        raise ValueError("a box must have four numbers: correct the bndbox") from None
    if not (np.isfinite(xyxy).all() and xyxy[0] < xyxy[2] and xyxy[1] < xyxy[3]):
        raise ValueError(f"a box must have xmin < xmax and ymin < ymax, got {xyxy}")
    return _VocRow(item.text["name"], xyxy)


def _read_rows(path: Path, document: _Document, known: Sequence[str], on_problem: OnProblem
               ) -> list[_VocRow]:  # fmt: skip
    rows: list[_VocRow] = []
    for item in document.objects:
        try:
            row = _read_object(item)
        except ValueError as error:
            on_problem(Problem(path, item.line, str(error)))
            continue
        if known and row.name not in known:
            what = f"class {row.name!r} does not exist: the classes are {', '.join(known)}"
            on_problem(Problem(path, item.line, what))
            continue
        rows.append(row)
    return rows


def _parse(path: Path, on_problem: OnProblem) -> _Document:
    document = _Document()
    try:
        document.parse(path.read_bytes())
    except expat.ExpatError as error:
        what = f"broken XML ({expat.ErrorString(error.code)}): restore the file"
        on_problem(Problem(path, error.lineno, what))
    except (OSError, ValueError) as error:
        on_problem(Problem(path, 0, str(error)))
    return document


def _find_picture(folder: Path, stem: Path, filename: str) -> Path:
    """The picture beside an annotation: the file of its stem, else the one that it names."""
    named = stem.parent / Path(filename.replace("\\", "/")).name if filename else stem
    suffixes = sorted(IMAGE_SUFFIXES)
    candidates = [stem.with_name(stem.name + s) for s in (*suffixes, *map(str.upper, suffixes))]
    for candidate in (*candidates, named):
        if (folder / candidate).is_file():
            return folder / candidate
    return folder / named


def read_voc(
    folder: Path,
    classes: Sequence[str] = (),
    on_problem: OnProblem = raise_problem,
    group: Callable[[Path], str] = group_by_folder,
) -> Dataset:
    """Read the data set in ``folder``: ``annotations/*.xml`` and ``images/``.

    The original layout (Annotations, JPEGImages, ImageSets) works too, and XML files beside the
    pictures. Class ids follow ``classes``, or the
    sorted names of all objects. ``group`` turns a path below ``annotations/`` into its group.

    Raises:
        ConfigError: There is a problem and ``on_problem`` is not given.
    """
    notes = next(
        (folder / n for n in ("annotations", "Annotations") if (folder / n).is_dir()), folder
    )
    images = next((folder / n for n in ("images", "JPEGImages") if (folder / n).is_dir()), folder)
    read: list[tuple[Path, Path, list[_VocRow]]] = []
    for path in sorted(p for p in notes.rglob("*.xml") if not is_hidden(p.relative_to(notes))):
        document = _parse(path, on_problem)
        relative = path.relative_to(notes)
        picture = _find_picture(images, relative.with_suffix(""), document.filename)
        read.append((path, picture, _read_rows(path, document, classes, on_problem)))
    names = tuple(classes) or tuple(sorted({row.name for _, _, rows in read for row in rows}))
    part_of_name = _read_parts(folder, [path.relative_to(notes) for path, _, _ in read])
    examples: list[Example] = []
    for path, picture, rows in read:
        try:
            size_wh = image_file.size_wh(picture)
        except ConfigError:
            on_problem(Problem(picture, 0, f"missing or broken, {path} speaks of it"))
            continue
        relative = path.relative_to(notes)
        examples.append(
            Example(
                path=picture,
                size_wh=size_wh,
                xyxy=np.array([r.xyxy for r in rows], np.float32).reshape(-1, 4),
                class_id=np.array([names.index(r.name) for r in rows], np.int32),
                landmarks=unknown_points(len(rows)),
                weight=np.ones(len(rows), np.float32),
                name=relative.with_suffix("").as_posix(),
                group=group(relative).split(".rf.")[0],
                label_file=path,
                part=part_of_name.get(relative.with_suffix("").as_posix(), ""),
            )
        )
    return Dataset(names, tuple(examples), tuple(_tell_passed_over(images, examples)))


def _tell_passed_over(images: Path, examples: Sequence[Example]) -> Iterator[Problem]:
    pictures, notes = find_pictures(images)
    yield from notes
    labeled = {e.path for e in examples}
    lone = [p.name for p in pictures if p not in labeled]
    if lone:
        what = f"{len(lone)} picture(s) have no annotation and were passed over: {list_some(lone)}"
        yield Problem(images, 0, what)


def _read_parts(folder: Path, relatives: Sequence[Path]) -> dict[str, Part]:
    """The part of each annotation, by folders train and valid or by ``ImageSets/Main``."""
    sets = folder / "ImageSets" / "Main"
    if (sets / "train.txt").is_file() and (sets / "val.txt").is_file():
        return {
            line.split()[0]: part
            for part, name in _SETS.items()
            if (sets / name).is_file()
            for line in read_text(sets / name).splitlines()
            if line.strip()
        }
    found = {r.with_suffix("").as_posix(): part_of(r.parts[0]) for r in relatives}
    return found if {"train", "val"} <= set(found.values()) else {}
