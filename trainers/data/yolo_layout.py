"""Where YOLO text lies: the folders of Roboflow, ultralytics, CVAT, Label Studio and labelImg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError
from trainers.data.data_yaml import read_data_yaml
from trainers.data.dataset import IMAGE_SUFFIXES, Part, Problem
from trainers.data.picture_folder import find_pictures, list_some
from trainers.data.text_file import read_text

_CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_YAML = frozenset({".yaml", ".yml"})
_YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_PART = re.compile(r"(?:obj_|instances_)?(train|val|test)(?:id|idation|ing)?(?:\d{4})?(?:_data)?")

_PARTS: dict[str, Part] = {"train": "train", "val": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class Place:
    """A picture, its label file, its name, and the part it belongs to.

    Attributes:
        relative: Below the folder of its part: it decides the group.
    """

    picture: Path
    label_file: Path
    name: str
    relative: Path
    part: Part


@dataclass(frozen=True, slots=True)
class YoloLayout:
    """What lies where.

    Attributes:
        keypoints: Whether rows go on with keypoints of another kind than five of a face.
        needs_labels: Whether a picture without a label file is a fault; ultralytics and Roboflow
            take it for a picture that shows nothing.
    """

    class_file: Path
    classes: tuple[str, ...]
    places: tuple[Place, ...]
    notes: tuple[Problem, ...]
    keypoints: bool = False
    needs_labels: bool = True


def part_of(folder: str) -> Part:
    """The part that a folder or file is named after; empty if it is none."""
    match = _PART.fullmatch(folder.lower())
    return _PARTS[match[1]] if match else ""


def find_class_file(path: Path) -> Path | None:
    """The file of a folder, or the path itself, that names the classes of YOLO text."""
    if path.suffix.lower() in _YAML and path.is_file():
        return path
    folders = (path / "labels", path / "images", path / "train")
    candidates = [path / name for name in (*_YAMLS, *_CLASS_FILES)]
    candidates += [f / name for f in folders for name in _CLASS_FILES]
    return next((c for c in candidates if c.is_file()), None)


def find_yolo(path: Path, class_file: Path) -> YoloLayout:
    """The layout of a folder whose classes ``class_file`` names.

    Raises:
        ConfigError: The list of classes or folders is wrong.
    """
    yaml = class_file.suffix.lower() in _YAML
    return _from_yaml(class_file) if yaml else _from_folders(path, class_file)


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one per line.

    Raises:
        ConfigError: The file is missing or empty, or a name occurs twice.
    """
    return check_names(path, tuple(n.strip() for n in read_text(path).splitlines() if n.strip()))


def check_names(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if they can be those of classes.

    Raises:
        ConfigError: There are none, or one is empty, not printable or there twice.
    """
    if not names:
        raise ConfigError("expected different class names, one per line, got none", file=path)
    seen: dict[str, int] = {}
    for n, name in enumerate(names):
        if not name.strip() or not name.isprintable() or len(name) > 255:
            raise ConfigError(
                f"class {n} must have a printable name, got {name[:60]!r}: rename it.", file=path
            )
        if name in seen:
            raise ConfigError(
                f"expected different class names, but {seen[name]} and {n} are both {name!r}: "
                "rename one.",
                file=path,
            )
        seen[name] = n
    return names


def _from_folders(path: Path, class_file: Path) -> YoloLayout:
    images = path / "images"
    base = images if images.is_dir() else path
    pictures, notes = find_pictures(base)
    tops = {p: p.relative_to(base).parts[0] for p in pictures}
    split = {"train", "val"} <= {part_of(top) for top in tops.values()}
    places: list[Place] = []
    for picture in pictures:
        part = part_of(tops[picture]) if split else ""
        places.append(_place(path, picture, base / tops[picture] if part else base, part))
    return YoloLayout(class_file, read_classes(class_file), tuple(places), tuple(notes))


def _place(root: Path, picture: Path, base: Path, part: Part) -> Place:
    relative = picture.relative_to(root)
    folders = list(relative.parts[:-1])
    label_file = picture.with_suffix(".txt")
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        moved = root.joinpath(*folders[:last], "labels")
        if moved.is_dir():
            label_file = moved.joinpath(*folders[last + 1 :], label_file.name)
        del folders[last]
    name = Path(*folders, relative.name).with_suffix("").as_posix()
    below = picture.relative_to(base) if picture.is_relative_to(base) else Path(picture.name)
    return Place(picture, label_file, name, below, part)


def _from_yaml(path: Path) -> YoloLayout:
    said, root = read_data_yaml(path), path.parent
    places: dict[Path, Place] = {}
    notes: list[Problem] = []
    for part in ("train", "val", "test"):
        kind: Part = part
        for place in said.parts.get(part, ()):
            where = _resolve(root, said.root, place)
            if where is None and part == "test":
                notes.append(Problem(path, 0, f"test: {place} does not exist", harmless=True))
                continue
            if where is None:
                raise ConfigError(
                    f"{part}: {place[:200]!r} does not lie in {root}: correct it.", file=path
                )
            for picture in _pictures(where, root, said.root, notes):
                base = where if where.is_dir() else root
                places.setdefault(picture, _place(root, picture, base, kind))
    if not said.parts:
        raise ConfigError("names no pictures (train, val): correct it.", file=path)
    names = check_names(path, said.names)
    return YoloLayout(path, names, tuple(places.values()), tuple(notes), said.keypoints, False)


def _pictures(where: Path, root: Path, path: str, notes: list[Problem]) -> Iterator[Path]:
    """The pictures of a folder, or of a list of them."""
    if where.is_dir():
        pictures, unread = find_pictures(where)
        notes += unread
        yield from pictures
        return
    lost: list[str] = []
    for line in filter(None, map(str.strip, read_text(where).splitlines())):
        picture = _resolve(root, path, line)
        if picture is None or picture.suffix.lower() not in IMAGE_SUFFIXES:
            lost.append(line)
        else:
            yield picture
    if lost:
        what = f"{len(lost)} picture(s) of this list do not exist: {list_some(lost)}"
        notes.append(Problem(where, 0, what))


def _resolve(root: Path, path: str, place: str) -> Path | None:
    """The file or folder below ``root`` that a place means, which may be of another machine."""
    parts = [p for p in place.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    under = [p for p in path.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    tails = [parts[n:] for n in range(len(parts))] or [[]]
    for tail in ([*under, *parts], *tails):
        candidate = root.joinpath(*tail)
        try:
            if candidate.exists() and candidate.resolve().is_relative_to(root.resolve()):
                return candidate
        except (OSError, ValueError):  # a name too long, or with NUL
            continue
    return None
