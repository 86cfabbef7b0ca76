"""A teacher: a model that labels pictures and videos nobody has labelled.

A teacher is any function from a picture to ``Detections`` or ``Faces``. Hard labels count
like a person's; soft ones carry the teacher's score as their weight. What a person labelled
stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Stop

import cv2
import numpy as np

from edge.errors import ConfigError, SourceError
from edge.ports import Detector, FaceFinder
from edge.sources import video_file
from edge.types import Detections, Faces, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.preprocess import to_rgb
from trainers import picturefile
from trainers.data import IMAGE_SUFFIXES, Dataset, Example, unknown_points
from trainers.yolo import format_rows

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".gif", ".ts"})
_JPEG_QUALITY = 95

Ask = Callable[[RgbPicture], Detections | Faces]


def _frame(picture: RgbPicture) -> Frame:
    return Frame(camera="teacher", epoch=0, seq=0, captured_s=0.0, monotonic_s=0.0, picture=picture)


def of_detector(detector: Detector) -> Ask:
    """A contract detector as a teacher; its classes are ``detector.classes``."""
    return lambda picture: detector.detect([_frame(picture)])[0]


def of_faces(finder: FaceFinder) -> Ask:
    """A contract face finder as a teacher; its one class is ``face``."""
    return lambda picture: finder.find([_frame(picture)])[0]


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who labels, and how sure it must be.

    Attributes:
        ask: the model.
        classes: names by the class_id of its detections; ``("face",)`` for faces.
        score: rows below it are no label; raising it trades misses for mistakes.
        soft: the score becomes the label's weight.
    """

    ask: Ask
    classes: tuple[str, ...]
    score: float = 0.5
    soft: bool = False

    def label(self, picture: RgbPicture, unlabelled: Example) -> Example:
        """The example with this teacher's labels instead of its own.

        Raises:
            ConfigError: the model speaks of a class that ``classes`` does not name.
        """
        found = self.ask(picture)
        sure = found[found.score >= self.score]
        faces = isinstance(sure, Faces)
        class_id = np.zeros(len(sure), np.int32) if isinstance(sure, Faces) else sure.class_id
        if len(class_id) and class_id.max() >= len(self.classes):
            raise ConfigError(
                f"the teacher found class {class_id.max()}, but names only {len(self.classes)} "
                "classes: name them all"
            )
        weight = np.clip(sure.score, 1e-3, 1) if self.soft else np.ones(len(sure))
        return replace(
            unlabelled,
            xyxy=boxes.clip(sure.xyxy, picture.size_wh),
            class_id=class_id,
            landmarks=sure.landmarks.copy() if faces else unknown_points(len(sure)),
            weight=weight.astype(np.float32),
        )


def teach(dataset: Dataset, teacher: Teacher, iou: float = 0.5) -> Dataset:
    """The data set with what the teacher finds besides the labels that are there.

    Of a teacher's and a person's box that overlap by more than ``iou`` the person's stays,
    whatever the classes. Classes are united by name.

    Raises:
        ConfigError: a picture cannot be read.
    """
    taught = (teacher.label(RgbPicture(e.load().image), e) for e in dataset.examples)
    return merge(dataset, Dataset(teacher.classes, tuple(taught)), iou)


def merge(human: Dataset, taught: Dataset, iou: float = 0.5) -> Dataset:
    """Labels of both, picture by picture (by name); a person's box wins over a teacher's.

    Args:
        human: kept whole.
        taught: its pictures that ``human`` lacks are added as they are.
        iou: a teacher's box that overlaps a person's by more is dropped.
    """
    classes = tuple(dict.fromkeys(human.classes + taught.classes))
    mine = (human + Dataset(classes, ())).select(classes)
    theirs = {e.name: e for e in (taught + Dataset(classes, ())).select(classes).examples}
    merged = [_add(e, theirs.pop(e.name, None), iou) for e in mine.examples]
    return Dataset(classes, (*merged, *theirs.values()))


def _add(human: Example, taught: Example | None, iou: float) -> Example:
    if taught is None:
        return human
    new = taught[~(boxes.iou(taught.xyxy, human.xyxy) > iou).any(1)]
    return replace(
        human,
        xyxy=np.concatenate([human.xyxy, new.xyxy]),
        class_id=np.concatenate([human.class_id, new.class_id]),
        landmarks=np.concatenate([human.landmarks, new.landmarks]),
        weight=np.concatenate([human.weight, new.weight]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Unlabelled:
    """A picture and its place below ``images/``."""

    relative: Path
    picture: RgbPicture
    encoded: bytes  # as the file had it; of a video's frame, as JPEG


def _video_frames(path: Path, folder: Path, every: int) -> Iterator[_Unlabelled]:
    """Every n-th frame of a video, into a folder of its own, so that it is one group."""
    source = video_file.build(video_file.Options(path=str(path), every_frame=True))
    try:
        with source.connect(Stop()) as captures:
            for n, capture in enumerate(itertools.islice(captures, 0, None, every)):
                picture = RgbPicture(np.ascontiguousarray(to_rgb(capture.picture)))
                yield _Unlabelled(folder / f"{n * every:06d}.jpg", picture, _jpeg(picture))
    except SourceError as error:
        raise ConfigError(f"{error}: repair the video or leave it out") from error


def _jpeg(picture: RgbPicture) -> bytes:
    bgr = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _unlabelled(source: Path, every: int) -> Iterator[_Unlabelled]:
    """All pictures of a file or folder, videos taken apart."""
    root = source.parent if source.is_file() else source
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    for path in files:
        relative, suffix = path.relative_to(root), path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            yield from _video_frames(path, relative.with_suffix(""), every)
        elif suffix in IMAGE_SUFFIXES:
            yield _Unlabelled(relative, picturefile.read(path), path.read_bytes())


def label_folder(source: Path, target: Path, teacher: Teacher, every: int = 10,
                 progress: Callable[[], None] = lambda: None) -> int:  # fmt: skip
    """Label pictures and videos and write them as a YOLO data set; GIFs count as videos.

    Args:
        source: a picture, a video, or a folder of them.
        target: a folder that is new or empty; ``images/``, ``labels/``, ``classes.txt``.
        teacher: who labels.
        every: of a video each so-manieth frame.
        progress: called after each picture.

    Returns:
        How many pictures were written.

    Raises:
        ConfigError: nothing to label, ``target`` is in use, a file cannot be read, or the
            disk is full.
    """
    if not source.exists():
        raise ConfigError(f"{source} does not exist: check the path")
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty: choose a new folder")
    count = 0
    try:
        for one in _unlabelled(source, every):
            _write(target, one, teacher)
            count += 1
            progress()
        if not count:
            raise ConfigError(f"{source} holds no picture and no video: check the folder")
        (target / "classes.txt").write_text("".join(f"{c}\n" for c in teacher.classes), "utf-8")
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}: free some space and start again") from error
    return count


def _write(target: Path, one: _Unlabelled, teacher: Teacher) -> None:
    image = target / "images" / one.relative
    text = (target / "labels" / one.relative).with_suffix(".txt")
    blank = Example(
        image, one.picture.size_wh, np.zeros((0, 4), np.float32), np.zeros(0, np.int32),
        unknown_points(0), np.zeros(0, np.float32), str(one.relative), "", text,
    )  # fmt: skip
    taught = teacher.label(one.picture, blank)
    for path in (image, text):
        path.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(one.encoded)
    text.write_text(
        format_rows(taught.xyxy, taught.size_wh, taught.class_id, taught.landmarks, taught.weight),
        "utf-8",
    )
