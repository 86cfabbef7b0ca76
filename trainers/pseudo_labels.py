"""Pseudo-labels: a teacher model labels images and videos.

A teacher is any function from a picture to ``Detections`` or ``Faces``. Hard labels count like
human ones; soft labels carry the teacher's score as their weight. Human labels are never changed.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Stop
from typing import Literal

import cv2
import numpy as np

from edge.errors import ConfigError, SourceError
from edge.models.contract import load_model, read_task_manifest
from edge.ports import Detector, FaceFinder
from edge.runtimes import onnx
from edge.sources import video_file
from edge.types import Detections, Faces, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.resize import to_rgb
from trainers.data import image_file
from trainers.data.coco import to_coco
from trainers.data.dataset import (
    IMAGE_SUFFIXES,
    Dataset,
    Example,
    Problem,
    group_by_folder,
    join_labels,
    no_labels,
    unknown_points,
)
from trainers.data.picture_folder import find_pictures, tell_unread
from trainers.data.read import read_dataset
from trainers.data.yolo import format_rows

VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".avi", ".gif", ".h264", ".h265", ".hevc", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
_JPEG_QUALITY = 95
_MARKER = "by-edge-train.txt"  # marks a folder of a run that may be replaced

Form = Literal["yolo", "coco"]
Predict = Callable[[RgbPicture], Detections | Faces]


def _frame(picture: RgbPicture) -> Frame:
    return Frame(camera="teacher", epoch=0, seq=0, captured_s=0.0, monotonic_s=0.0, picture=picture)


def wrap_detector(detector: Detector) -> Predict:
    """A contract detector as a function of pictures."""
    return lambda picture: detector.detect([_frame(picture)])[0]


def wrap_face_detector(finder: FaceFinder) -> Predict:
    """A contract face detector as a function of pictures."""
    return lambda picture: finder.find([_frame(picture)])[0]


def load_teacher(path: Path, classes: Sequence[str] = (), score: float = 0.5, *,
          soft: bool = False) -> Teacher:  # fmt: skip
    """Load a contract model, a detector or a face detector, as a teacher; see `Teacher`.

    It labels the given classes, or all it knows.

    Raises:
        ConfigError: The model does not know such a class.
        ModelError: It is not a contract model, or detects neither objects nor faces.
    """
    runtime = onnx.build(onnx.Options())
    own: tuple[str, ...]
    if read_task_manifest(path).task == "faces":
        own, ask = ("face",), wrap_face_detector(load_model("faces", runtime, path))
    else:
        detector = load_model("detect", runtime, path)
        own, ask = detector.classes, wrap_detector(detector)
    strange = [name for name in classes if name not in own]
    if strange:
        raise ConfigError(f"{path} does not know {', '.join(strange)}; it knows {', '.join(own)}")
    teacher = Teacher(ask, own, score, soft)
    return teacher.only(classes) if classes else teacher


def remap_classes(
    ask: Predict, own: Sequence[str], wanted: Sequence[str]
) -> Callable[[RgbPicture], Detections]:
    """A model's detections with the class ids of the data; other classes are dropped.

    Raises:
        ConfigError: They have no class in common.
    """
    if not set(own) & set(wanted):
        raise ConfigError(
            f"The model knows {', '.join(own)}, the data {', '.join(wanted)}: they have no class "
            "in common."
        )
    new = np.array([wanted.index(name) if name in wanted else -1 for name in own], np.int32)

    def detect(picture: RgbPicture) -> Detections:
        rows = ask(picture)
        old = np.zeros(len(rows), np.int32) if isinstance(rows, Faces) else rows.class_id
        class_id = new[old]
        keep = class_id >= 0
        return Detections(rows.xyxy[keep], rows.score[keep], class_id[keep])

    return detect


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that labels, and the score from which its detections become labels.

    Attributes:
        ask: The model.
        classes: Names by the class_id of its detections; ``("face",)`` for faces.
        score: Threshold of a label; raising it trades false labels for missing ones.
        soft: Use the score as the weight of the label.
    """

    ask: Predict
    classes: tuple[str, ...]
    score: float = 0.5
    soft: bool = False

    def only(self, classes: Sequence[str]) -> Teacher:
        """The same teacher for these classes only, in this order.

        Raises:
            ConfigError: It knows none of them.
        """
        wanted = tuple(classes)
        if wanted == self.classes:
            return self
        return replace(self, ask=remap_classes(self.ask, self.classes, wanted), classes=wanted)

    def label(self, picture: RgbPicture, unlabeled: Example) -> Example:
        """The example with the teacher's labels.

        Raises:
            ConfigError: The model detects a class that ``classes`` does not name.
        """
        found = self.ask(picture)
        sure = found[found.score >= self.score]
        if isinstance(sure, Faces):
            class_id, landmarks = np.zeros(len(sure), np.int32), sure.landmarks.copy()
        else:
            class_id, landmarks = sure.class_id, unknown_points(len(sure))
        if len(class_id) and class_id.max() >= len(self.classes):
            raise ConfigError(
                f"The teacher detected class {class_id.max()}, but only {len(self.classes)} "
                "classes are named: name them all."
            )
        weight = np.clip(sure.score, 1e-3, 1) if self.soft else np.ones(len(sure))
        return replace(
            unlabeled,
            xyxy=boxes.clip(sure.xyxy, picture.size_wh),
            class_id=class_id,
            landmarks=landmarks,
            weight=weight.astype(np.float32),
        )


def add_teacher_labels(dataset: Dataset, teacher: Teacher, iou: float = 0.5) -> Dataset:
    """The data set with the teacher's detections added to its labels.

    Where a teacher's and a human box overlap by more than ``iou``, the human one stays, whatever
    the classes. Classes are united by name.

    Raises:
        ConfigError: A picture cannot be read.
    """
    taught = (teacher.label(RgbPicture(e.load().image), e) for e in dataset.examples)
    return merge_labels(dataset, Dataset(teacher.classes, tuple(taught)), iou)


def merge_labels(human: Dataset, taught: Dataset, iou: float = 0.5) -> Dataset:
    """Merge human and teacher labels, picture by picture (by name).

    Every human label is kept; a teacher's box that overlaps one by more than ``iou`` is dropped.
    Pictures that ``human`` lacks are added.
    """
    classes = tuple(dict.fromkeys(human.classes + taught.classes))
    mine = (human + Dataset(classes, ())).select(classes)
    theirs = {e.name: e for e in (taught + Dataset(classes, ())).select(classes).examples}
    merged = [_add(e, theirs.pop(e.name, None), iou) for e in mine.examples]
    return Dataset(classes, (*merged, *theirs.values()))


def _add(human: Example, taught: Example | None, iou: float) -> Example:
    if taught is None:
        return human
    overlap = boxes.iou(taught.xyxy, human.xyxy).max(1, initial=0)  # (N,)
    new = taught[np.less_equal(overlap, iou)]
    return replace(human, **join_labels([human, new]))


@dataclass(frozen=True, slots=True, eq=False)
class _Unlabeled:
    """A picture and its path below ``images/``."""

    relative: Path
    picture: RgbPicture
    encoded: bytes  # content of the file; a frame of a video as JPEG


def _video_frames(path: Path, folder: Path, every: int) -> Iterator[_Unlabeled]:
    """Every n-th frame of a video; its folder makes it one group."""
    source = video_file.build(video_file.Options(path=str(path), every_frame=True))
    try:
        with source.connect(Stop()) as captures:
            for n, capture in enumerate(itertools.islice(captures, 0, None, every)):
                picture = RgbPicture(np.ascontiguousarray(to_rgb(capture.picture)))
                yield _Unlabeled(folder / f"{n * every:06d}.jpg", picture, encode_jpeg(picture))
    except SourceError as error:
        raise ConfigError(f"{error}: repair the video or leave it out.") from error


def encode_jpeg(picture: RgbPicture) -> bytes:
    """A picture as JPEG, for training."""
    bgr = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _find_unlabeled(source: Path) -> tuple[list[Path], list[Problem]]:
    """The pictures and videos of a file or folder, and what was passed over."""
    if source.is_dir():
        return find_pictures(source, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if source.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return [source], []
    return [], list(tell_unread(source, [source]))


def _iterate_unlabeled(source: Path, files: Sequence[Path], every: int) -> Iterator[_Unlabeled]:
    """All pictures of a file or folder, and the frames of videos."""
    root = source if source.is_dir() else source.parent
    for path in files:
        relative, suffix = path.relative_to(root), path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            yield from _video_frames(path, relative.with_suffix(""), every)
        else:
            yield _Unlabeled(relative, image_file.read(path), path.read_bytes())


def iterate_pictures(source: Path, every: int = 1) -> Iterator[RgbPicture]:
    """All pictures of a file or folder, and every n-th frame of its videos, as decoded.

    Raises:
        ConfigError: A file cannot be read.
    """
    files, _ = _find_unlabeled(source)
    for one in _iterate_unlabeled(source, files, every):
        yield one.picture


def label_folder(
    sources: Path | Sequence[Path], target: Path, teacher: Teacher, every: int = 10,
    progress: Callable[[], None] = lambda: None, form: Form = "yolo",
) -> Dataset:  # fmt: skip
    """Label images and videos and write them as a data set; GIFs count as videos.

    Args:
        sources: Images, videos, or folders of them.
        target: A new or empty folder; gets ``images/`` and, for YOLO text, ``labels/`` and
            ``classes.txt``, for COCO ``annotations.json``.
        teacher: Labels the pictures.
        every: Label every n-th frame of a video.
        progress: Called after each picture.
        form: ``yolo`` or ``coco``.

    Raises:
        ConfigError: There is nothing to label, ``target`` is in use, a file cannot be read, or
            the disk is full.
    """
    sources = [sources] if isinstance(sources, Path) else list(sources)
    for source in sources:
        if not source.exists():
            raise ConfigError("Nothing exists here: check the path.", file=source)
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError("This folder is not empty: choose a new one.", file=target)
    examples: dict[str, Example] = {}
    found = {source: _find_unlabeled(source) for source in sources}
    notes = tuple(note for _, told in found.values() for note in told)
    try:
        for source, one in (
            (s, one)
            for s, (files, _) in found.items()
            for one in _iterate_unlabeled(s, files, every)
        ):
            example = _write(target, one, teacher)
            if example.name in examples:
                raise ConfigError(
                    f"Another picture is called {example.name} too: rename it, or label it into a "
                    "data set of its own.",
                    file=source,
                )
            examples[example.name] = example
            progress()
        if not examples:
            names = ", ".join(map(str, sources))
            why = "".join(f"; {note.what}" for note in notes)
            raise ConfigError(f"{names} holds no picture and no video: check the folder{why}.")
        dataset = Dataset(teacher.classes, tuple(examples.values()), notes)
        _write_labels(target, dataset, form)
    except OSError as error:
        raise ConfigError(
            f"The data set cannot be written ({error.strerror}): free some space and start again.",
            file=target,
        ) from error
    return dataset


def label_into_run(
    sources: Path | Sequence[Path], target: Path, teacher: Teacher, every: int = 10, *, resume: bool
) -> Dataset:
    """Label pictures into a run folder; a resumed run reads the labels written at its start.

    A new run labels again, because labels of an earlier attempt may be of other pictures or of
    another teacher. The folder is complete: it is written under another name first.

    Raises:
        ConfigError: See `label_folder`, or the folder was not written by a run.
    """
    notes: tuple[Problem, ...] = ()
    if not (resume and target.is_dir()):
        if target.exists() and not (target / _MARKER).is_file():
            raise ConfigError(
                "This folder is in the way: move it elsewhere, or choose another --out.",
                file=target,
            )
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of an interrupted attempt
        notes = label_folder(sources, part, teacher, every).notes
        (part / _MARKER).write_text("edge-train wrote this folder and will replace it.\n")
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    labeled = read_dataset(target)
    return replace(labeled, notes=notes + labeled.notes)


def _write_labels(target: Path, dataset: Dataset, form: Form) -> None:
    if form == "coco":
        document = json.dumps(to_coco(dataset, target / "images"))
        (target / "annotations.json").write_text(document, "utf-8")
        return
    for example in dataset.examples:
        example.label_file.parent.mkdir(parents=True, exist_ok=True)
        example.label_file.write_text(format_rows(example), "utf-8")
    (target / "classes.txt").write_text("".join(f"{c}\n" for c in dataset.classes), "utf-8")


def _write(target: Path, one: _Unlabeled, teacher: Teacher) -> Example:
    """Write the picture and label it."""
    image = target / "images" / one.relative
    text = (target / "labels" / one.relative).with_suffix(".txt")
    blank = Example(
        image, one.picture.size_wh, **no_labels(), label_file=text,
        name=one.relative.with_suffix("").as_posix(), group=group_by_folder(one.relative),
    )  # fmt: skip
    taught = teacher.label(one.picture, blank)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(one.encoded)
    return taught
