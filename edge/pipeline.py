"""The pipeline: frames of several cameras in, results out. No I/O.

Threads may call `step` concurrently if no two of them process the same camera.
Cameras share the models, which are thread-safe, and the recognizer, which is locked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
class CameraView:
    """The state of one camera; a new ``epoch`` ends all tracks."""

    filter: DetectionFilter
    tracker: Tracker
    zones: ZoneMonitor
    epoch: int = -1

    @classmethod
    def create(
        cls, camera: Camera, classes: tuple[str, ...], track_ids: Iterator[int]
    ) -> CameraView:
        """Create the view of a configured camera."""
        return cls(
            DetectionFilter(camera, classes),
            Tracker(camera.tracking, track_ids),
            ZoneMonitor(camera.zones, camera.lines, classes, camera.name),
        )

    def follow(self, frame: Frame, detections: Detections, faces: Faces) -> FrameResult:
        """One frame's detections and faces -> its result."""
        at_s = frame.monotonic_s
        ended: tuple[TrackEvent, ...] = ()
        if frame.epoch != self.epoch:
            ended = self.tracker.reset(at_s)
            self.epoch = frame.epoch
        update = self.tracker.update(self.filter.keep(detections, frame.size_wh), at_s)
        ended += update.ended
        ended_ids = [event.track_id for event in ended]
        left = self.zones.forget(ended_ids, at_s) if ended_ids else ()
        zones, moves = self.zones.update(update.tracks, frame.size_wh, at_s)
        changes = (*left, *ended, *update.began, *moves)
        return FrameResult(frame, update.tracks, zones, faces, changes)


class Pipeline:
    """Detection, face detection, tracking and recognition of one batch across cameras.

    Args:
        detector: Detects objects.
        faces: Detects faces; None detects none.
        track_ids: Ids of new tracks, shared by all cameras.
        recognizer: Recognizes faces; None recognizes none.
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
        self._views: Mapping[str, CameraView] = {}
        self._recognizing = threading.Lock()
        self._person = detector.classes.index("person") if "person" in detector.classes else -1

    def watch(self, cameras: Sequence[Camera], changed: frozenset[str] = frozenset()) -> None:
        """Set the cameras that are watched; those not in ``changed`` keep their tracks.

        Raises:
            ConfigError: A camera names a label the detector does not know.
        """
        views = {name: view for name, view in self._views.items() if name not in changed}
        classes, ids = self._detector.classes, self._track_ids
        self._views = {
            camera.name: views.get(camera.name) or CameraView.create(camera, classes, ids)
            for camera in cameras
        }
        if self._recognizer:
            self._recognizer.forget_other_cameras([n for n in self._views if n not in changed])

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Frames, those of one camera in its order -> one result per frame, in the same order."""
        views = self._views
        frames = [frame for frame in frames if frame.camera in views]  # removed by a reload
        if not frames:
            return []
        detections = self._detector.detect(frames)
        faces = self._faces.find(frames) if self._faces else [Faces.empty()] * len(frames)
        results = [
            self._assign_faces(views[frame.camera].follow(frame, objects, frame_faces))
            for frame, objects, frame_faces in zip(frames, detections, faces, strict=True)
        ]
        if self._recognizer is None:
            return results
        with self._recognizing:
            return [r for turn in split_turns(results) for r in self._recognizer.look(turn)]

    def _assign_faces(self, result: FrameResult) -> FrameResult:
        """Give each face the row of the person that contains it."""
        if not len(result.faces) or not len(result.tracks):
            return result
        rows = find_person_rows(result.faces, result.tracks, self._person)
        return replace(result, faces=replace(result.faces, track_row=rows))


def split_turns(results: Sequence[FrameResult]) -> Iterator[Sequence[FrameResult]]:
    """Parts of a batch, in order, in which no camera comes twice."""
    cameras: set[str] = set()
    first = 0
    for row, result in enumerate(results):
        if result.frame.camera in cameras:
            yield results[first:row]
            first = row
            cameras.clear()
        cameras.add(result.frame.camera)
    yield results[first:]


def find_person_rows(faces: Faces, tracks: Tracks, person: int) -> np.ndarray:
    """``(M,)`` int32: row of the smallest person that contains each face, or -1."""
    inside = boxes.containment(faces.xyxy, tracks.xyxy) >= MIN_FACE_INSIDE  # (M, N)
    inside &= tracks.class_id[None, :] == person
    size = np.where(inside, boxes.area(tracks.xyxy)[None, :], np.inf)
    return np.where(inside.any(axis=1), size.argmin(axis=1), -1).astype(np.int32)
