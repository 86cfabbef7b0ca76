"""What is restyled and where it goes: checked before Keras is loaded, and written as YOLO text.

A restyled picture stays in the group of the day picture, which a split never parts: both are
learned from, or neither. So its file lies where `read_yolo` finds that group again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from edge.errors import ConfigError, collect_errors
from edge.types import RgbPicture
from trainers.data import image_file
from trainers.data.class_data import read_class_data
from trainers.data.dataset import Dataset, Example
from trainers.data.parts import split_parts
from trainers.data.picture_folder import find_pictures, is_hidden
from trainers.data.read import is_dataset, read_dataset
from trainers.data.yolo import format_rows
from trainers.pseudo_labels import encode_jpeg

_MAX_NAMED = 5  # broken pictures that are named one by one


@dataclass(frozen=True, slots=True)
class Plan:
    """What is restyled.

    Attributes:
        examples: Day pictures.
        places: Path of each below ``images/``, without suffix.
        classes: Names by class_id.
        styles: Pictures of the style.
        out: The folder to write.
    """

    examples: tuple[Example, ...]
    places: tuple[PurePosixPath, ...]
    classes: tuple[str, ...]
    styles: tuple[Path, ...]
    out: Path


def require_free(data: Path, style: Path, out: Path) -> None:
    """Refuse a place to write to that is in use or among what is read.

    Raises:
        ConfigError: It is.
    """
    if out.exists():
        raise ConfigError("This exists already: choose a new folder for --out.", file=out)
    for what, read in (("the data", data), ("the pictures of the style", style)):
        folder = read.resolve() if read.is_dir() else read.resolve().parent
        if out.resolve().is_relative_to(folder):
            raise ConfigError(
                f"--out lies inside {what}, where it would be read as more of them: choose a "
                "folder beside it.",
                file=out,
            )


def find_styles(folder: Path) -> tuple[Path, ...]:
    """The pictures of a style.

    Raises:
        ConfigError: There is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ConfigError(
            "--style must be a folder of pictures that the camera took at night.", file=folder
        )
    pictures, notes = find_pictures(folder)
    if not pictures:
        why = "".join(f"; {note.what}" for note in notes)
        raise ConfigError(
            f"This folder of the style holds no picture: put some there{why}.", file=folder
        )
    return tuple(pictures)


def read_day(path: Path, val_fraction: float = 0.0, test_fraction: float = 0.0) -> Dataset:
    """The pictures that are learned from: what is held out judges, and stays as it was taken.

    Class folders and tables are read too. Without ``val_fraction``, which is that of the training,
    only the parts ``val`` and ``test`` of the data's own split are left out.

    Raises:
        ConfigError: The data cannot be read, or nothing is left.
    """
    table = path.suffix.lower() == ".csv" and path.name != "labels.csv"  # which has faces
    of_classes = table or (path.is_dir() and not is_dataset(path))
    dataset = read_class_data(path) if of_classes else read_dataset(path)
    if val_fraction:
        return split_parts(dataset, val_fraction, test_fraction).training
    learned = dataset.where(lambda e: e.part not in ("val", "test"))
    if not len(learned):
        raise ConfigError("There is no picture to restyle: check the folder.", file=path)
    return learned


def make_plan(dataset: Dataset, styles: Sequence[Path], out: Path) -> Plan:
    """Find a place for each picture, and decode each once, so that nothing fails hours later.

    Raises:
        ConfigError: Pictures cannot be read, or a name is none for a file.
    """
    places = tuple(_find_place(example) for example in dataset.examples)
    seen: dict[PurePosixPath, Example] = {}
    for place, example in zip(places, dataset.examples, strict=True):
        if (before := seen.setdefault(place, example)) is not example:
            raise ConfigError(
                f"{before.path} would be written to the same file, images/{place}: rename one.",
                file=example.path,
            )
    require_readable(dataset.examples, styles)
    return Plan(dataset.examples, places, dataset.classes, tuple(styles), out)


def _find_place(example: Example) -> PurePosixPath:
    """Where `read_yolo` finds the same group: a folder of its name, or a picture of its name."""
    group, name = example.group, example.name
    place = PurePosixPath(name if name == group and "/" not in name else
                          f"{group}/{name.replace('/', '-')}")  # fmt: skip
    parts = place.parts
    odd = any(part in ("..", "images", "labels") or re.search(r"[\\\0]", part) for part in parts)
    if odd or ".rf." in group or not group or place.is_absolute() or is_hidden(Path(place)):
        raise ConfigError(
            f"The group {group!r} of this picture cannot be the name of a folder: rename it.",
            file=example.path,
        )
    return place


def require_readable(examples: Sequence[Example], styles: Sequence[Path]) -> None:
    """Decode every picture.

    Raises:
        ConfigError: Some cannot be decoded, or are not of the size that their labels are for.
    """
    loads: list[Callable[[], object]] = [example.load for example in examples]
    loads += [partial(image_file.read, path) for path in styles]
    with ThreadPoolExecutor(2) as pool:
        wrong = [error for error in pool.map(_complain, loads) if error]
    if len(wrong) > _MAX_NAMED:
        raise ConfigError(
            f"{len(wrong)} pictures cannot be read, among them {wrong[0]}: run edge-train check."
        )
    with collect_errors() as errors:
        for error in wrong:
            with errors.catch():
                raise error


def _complain(load: Callable[[], object]) -> ConfigError | None:
    try:
        load()
    except ConfigError as error:
        return error
    return None


def write_picture(plan: Plan, index: int, picture: RgbPicture) -> Path:
    """Write a restyled picture and the labels of its day picture; the path of the picture.

    Raises:
        ConfigError: The disk is full, or the folder cannot be written.
    """
    example, place = plan.examples[index], plan.places[index]
    image = plan.out / "images" / f"{place}.jpg"
    text = plan.out / "labels" / f"{place}.txt"
    try:
        for file, content in ((image, encode_jpeg(picture)), (text, format_rows(example).encode())):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as error:
        raise _cannot_write(plan.out, error) from error
    return image


def finish(plan: Plan) -> None:
    """Write ``data.yaml``, which makes it a data set: an interrupted run leaves none.

    Raises:
        ConfigError: The disk is full, or the folder cannot be written.
    """
    quoted = (f"  {n}: '{name.replace(chr(39), 2 * chr(39))}'" for n, name in
              enumerate(plan.classes))  # fmt: skip
    lines = ["train: images", "names:", *quoted, ""]
    try:
        (plan.out / "data.yaml").write_text("\n".join(lines), "utf-8")
    except OSError as error:
        raise _cannot_write(plan.out, error) from error


def _cannot_write(out: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"The data set cannot be written ({error.strerror}): free some space and start again.",
        file=out,
    )
