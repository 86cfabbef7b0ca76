"""The path of data: frames of several cameras in, events out. No I/O.

Several threads may step at once as long as each has other cameras. What cameras share is the
models, which allow it, and the recognizer, which takes turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge.config import Camera
from edge.people.recognition.recognizer import Recognizer
from edge.ports import Detector, FaceFinder
from edge.types import Detections, Faces, Frame, FrameResult, TrackEvent, Tracks
from edge.vision import boxes
from edge.vision.detection_filter import DetectionFilter
from edge.vision.tracker import Tracker
from edge.vision.zones import ZoneMonitor

MIN_FACE_INSIDE = 0.7  # share of a face's box that must lie inside its person's


@dataclass(slots=True)
class View:
    """What the pipeline remembers of one camera.

    Attributes:
        filter: what is dropped before tracking.
        tracker: objects of the current epoch.
        places: zones and lines.
        epoch: of the last frame; another one ends all tracks.
    """

    filter: DetectionFilter
    tracker: Tracker
    places: ZoneMonitor
    epoch: int = field(default=-1)

    @classmethod
    def of(cls, camera: Camera, classes: tuple[str, ...], track_ids: Iterator[int]) -> View:
        """A fresh view of a configured camera."""
        return cls(
            DetectionFilter(camera, classes),
            Tracker(camera.tracking, track_ids),
            ZoneMonitor(camera.zones, camera.lines, classes, camera.name),
        )

    def follow(self, frame: Frame, detections: Detections, faces: Faces) -> FrameResult:
        """One frame's detections and faces -> its event."""
        at_s = frame.monotonic_s
        ended: tuple[TrackEvent, ...] = ()
        if frame.epoch != self.epoch:
            ended = self.tracker.reset(at_s)
            self.epoch = frame.epoch
        kept = self.filter.keep(detections, frame.size_wh)
        update = self.tracker.update(kept, at_s)
        ended += update.ended
        gone = [change.track_id for change in ended]
        left = self.places.forget(gone, at_s) if gone else ()
        zones, moves = self.places.update(update.tracks, frame.size_wh, at_s)
        changes = (*left, *ended, *update.began, *moves)
        return FrameResult(frame, update.tracks, zones, faces, changes)


class Pipeline:
    """Detect, find faces, track: one batch across cameras a step.

    Args:
        detector: finds objects.
        faces: finds faces; None leaves faces out.
        track_ids: ids for new tracks, shared by all cameras.
        recognizer: says who the faces are; None leaves that out.
    """

    def __init__(
        self,
        detector: Detector,
        faces: FaceFinder | None,
        track_ids: Iterator[int],
        recognizer: Recognizer | None = None,
    ) -> None:
        self._detector = detector
        self._faces = faces
        self._track_ids = track_ids
        self._recognizer = recognizer
        self._views: Mapping[str, View] = {}
        self._recognizing = threading.Lock()
        self._person = detector.classes.index("person") if "person" in detector.classes else -1

    def watch(self, cameras: Sequence[Camera], changed: frozenset[str] = frozenset()) -> None:
        """Set the cameras that are watched; those not in ``changed`` keep their tracks.

        Raises:
            ConfigError: a camera names a label the detector does not know.
        """
        self._views = {
            camera.name: self._views[camera.name]
            if camera.name in self._views and camera.name not in changed
            else View.of(camera, self._detector.classes, self._track_ids)
            for camera in cameras
        }
        if self._recognizer:
            self._recognizer.keep([name for name in self._views if name not in changed])

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Frames, those of one camera in its order -> one event a frame, in the same order."""
        views = self._views
        frames = [frame for frame in frames if frame.camera in views]  # removed by a reload
        if not frames:
            return []
        detections = self._detector.detect(frames)
        faces = self._faces.find(frames) if self._faces else [Faces.empty()] * len(frames)
        events = [
            self._tie(views[frame.camera].follow(frame, objects, heads))
            for frame, objects, heads in zip(frames, detections, faces, strict=True)
        ]
        if self._recognizer is None:
            return events
        with self._recognizing:
            return [event for turn in turns(events) for event in self._recognizer.look(turn)]

    def _tie(self, event: FrameResult) -> FrameResult:
        """Give each face the row of the person that contains it."""
        if not len(event.faces) or not len(event.tracks):
            return event
        rows = person_rows(event.faces, event.tracks, self._person)
        return replace(event, faces=replace(event.faces, track_row=rows))


def turns(events: Sequence[FrameResult]) -> Iterator[Sequence[FrameResult]]:
    """Parts of a batch, in order, in which no camera comes twice."""
    cameras: set[str] = set()
    first = 0
    for row, event in enumerate(events):
        if event.frame.camera in cameras:
            yield events[first:row]
            first = row
            cameras.clear()
        cameras.add(event.frame.camera)
    yield events[first:]


def person_rows(faces: Faces, tracks: Tracks, person: int) -> np.ndarray:
    """``(M,)`` int32: row of the smallest person that contains each face, or -1."""
    inside = boxes.containment(faces.xyxy, tracks.xyxy) >= MIN_FACE_INSIDE  # (M, N)
    inside &= tracks.class_id[None, :] == person
    size = np.where(inside, boxes.area(tracks.xyxy)[None, :], np.inf)
    return np.where(inside.any(axis=1), size.argmin(axis=1), -1).astype(np.int32)
