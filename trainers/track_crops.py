"""Track crops: of every track in a recording one crop, its best look, to be sorted into classes.

Objects are detected and followed as by the daemon, and the best look is chosen as that of an event.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Stop

import numpy as np

from edge.config import Camera
from edge.errors import ConfigError, SourceError
from edge.events.view_quality import measure_view
from edge.frame_rate_limiter import FrameRateLimiter
from edge.pipeline import Pipeline
from edge.ports import Detector
from edge.sources import video_file
from edge.types import F32, U8, Frame, FrameResult, Picture, RgbPicture, TrackEventType
from edge.vision.box_crops import enlarge, round_box
from edge.vision.resize import crop, resize, to_rgb
from trainers.data.dataset import Problem
from trainers.data.picture_folder import find_pictures, tell_unread
from trainers.pseudo_labels import VIDEO_SUFFIXES, encode_jpeg

_CAMERA = "recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSettings:
    """Which tracks are cut out, and how.

    Attributes:
        of: Classes of the detector.
        fps: Frames per second that are looked at.
        margin: By which a box is enlarged, as a fraction of its sides; as in `ClassifierConfig`.
        least_px: Shorter side of a box from which a look counts.
    """

    of: tuple[str, ...]
    fps: float = 5.0
    margin: float = 0.1
    least_px: int = 24


@dataclass(frozen=True, slots=True, eq=False)
class BestLook:
    """The best look of a track so far.

    Attributes:
        label: Its class.
        quality: See `measure_view`.
        rgb: ``(h, w, 3)``, the box with its margin.
    """

    label: str
    quality: float
    rgb: U8


def write_track_crops(
    sources: Sequence[Path], target: Path, detector: Detector, settings: CropSettings,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Path], list[Problem]]:  # fmt: skip
    """Write ``target/VIDEO-CLASS-TRACK.jpg`` for every track; return the files and notes.

    ``sources`` are recordings or folders of them; below a folder, the crops lie as the recordings
    do. ``progress`` is called after each frame that was looked at.

    Raises:
        ConfigError: The detector does not know a class, there is no recording or a broken one,
            ``target`` is in use or cannot be written.
    """
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError("This folder is not empty: choose a new one.", file=target)
    strange = [name for name in settings.of if name not in detector.classes]
    if strange or not settings.of:
        raise ConfigError(
            f"--of {', '.join(strange)}: the detector knows {', '.join(detector.classes)}"
        )
    places, notes = dict[Path, Path](), list[Problem]()
    for source in sources:
        videos, passed_over = _find_videos(source)
        notes += passed_over
        for video in videos:
            below = video.relative_to(source).parent if source.is_dir() else Path()
            place = target / below / video.stem
            if place in places:
                raise ConfigError(
                    f"Another recording is called {video.stem} too: rename it, or cut it into a "
                    "folder of its own.",
                    file=video,
                )
            places[place] = video
    written = []
    for place, video in places.items():
        for track_id, look in cut_tracks(video, detector, settings, progress):
            path = place.with_name(f"{place.name}-{look.label}-{track_id:04d}.jpg")
            _write(path, look.rgb)
            written.append(path)
    return written, notes


def cut_tracks(
    video: Path, detector: Detector, settings: CropSettings,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, BestLook]]:  # fmt: skip
    """The id and best look of every track of a recording, as the tracks end.

    Raises:
        ConfigError: The recording cannot be read.
    """
    pipeline = Pipeline(detector, None, itertools.count(1))
    source = {"kind": "video_file", "path": str(video), "every_frame": True}
    pipeline.watch([Camera(name=_CAMERA, source=source, labels=settings.of)])
    best: dict[int, BestLook] = {}
    for frame in _read_frames(video, settings.fps):
        [result] = pipeline.step([frame])
        _look(result, detector.classes, settings, best)
        progress()
        for event in result.changes:
            if event.change is TrackEventType.ENDED and event.track_id in best:
                yield event.track_id, best.pop(event.track_id)
    yield from best.items()


def _look(
    result: FrameResult, classes: Sequence[str], settings: CropSettings, best: dict[int, BestLook]
) -> None:
    """Keep the looks of a frame that are better than those before."""
    tracks, picture = result.tracks, result.frame.picture
    for row, track_id in enumerate(tracks.track_id.tolist()):
        box = tracks.xyxy[row]
        if tracks.missed[row] or (box[2:] - box[:2]).min() < settings.least_px:
            continue
        before = best[track_id].quality if track_id in best else 0.0
        quality = measure_view(result, row, before)
        if quality > before:
            label = classes[tracks.class_id[row]]
            best[track_id] = BestLook(label, quality, _cut(picture, box, settings.margin))


def _cut(picture: Picture, xyxy: F32, margin: float) -> U8:
    """``(h, w, 3)`` RGB: the enlarged box, as it is shown where pixels are not square."""
    x1, y1, x2, y2 = round_box(enlarge(xyxy, margin, picture.size_wh), picture.size_wh)
    part, (x, y) = crop(picture, x1, y1, x2, y2)
    exact = np.ascontiguousarray(to_rgb(part)[y1 - y : y2 - y, x1 - x : x2 - x])
    width = max(1, round((x2 - x1) * picture.pixel_aspect))
    return exact if width == x2 - x1 else resize(exact, (width, y2 - y1))


def _read_frames(video: Path, fps: float) -> Iterator[Frame]:
    source = video_file.build(video_file.Options(path=str(video), every_frame=True))
    limiter = FrameRateLimiter(fps)
    try:
        with source.connect(Stop()) as captures:
            for seq, capture in enumerate(captures):
                if limiter.is_due(capture.monotonic_s):
                    at_s = capture.captured_s, capture.monotonic_s
                    yield Frame(_CAMERA, 1, seq, *at_s, capture.picture)
    except SourceError as error:
        raise ConfigError(f"{error}: repair the recording or leave it out.") from error


def _find_videos(source: Path) -> tuple[list[Path], list[Problem]]:
    """The recordings of a file or folder, and what was passed over.

    Raises:
        ConfigError: There is none.
    """
    if source.is_dir():
        found, notes = find_pictures(source, VIDEO_SUFFIXES)
    else:
        found = [source] if source.suffix.lower() in VIDEO_SUFFIXES else []
        notes = [] if found else list(tell_unread(source, [source]))
    if not found:
        raise ConfigError("There is no recording: name videos, or a folder of them.", file=source)
    return found, notes


def _write(path: Path, rgb: U8) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(RgbPicture(rgb)))
    except OSError as error:
        raise ConfigError(
            f"The crops cannot be written ({error.strerror}): free some space, or choose another "
            "folder.",
            file=path,
        ) from error
