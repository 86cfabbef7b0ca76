"""The pipeline: frames of several cameras in, results out. No I/O.

Threads may call `step` concurrently if no two of them process the same camera.
Cameras share the models, which are thread-safe, and the recognizer, which is locked; the observer
keeps what it knows by camera.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.classification.observer import Observer
from edge.config import Camera
from edge.errors import collect_errors
from edge.people.recognition.recognizer import Recognizer
from edge.ports import Detector, FaceFinder
from edge.recording.main_pictures import Enlarger, restore
from edge.types import (
    F32,
    I64,
    Classified,
    Detections,
    Faces,
    Frame,
    FrameResult,
    Look,
    TrackEvent,
    TrackLoss,
    Tracks,
    make_black,
)
from edge.vision import boxes
from edge.vision.detection_filter import DetectionFilter
from edge.vision.look_gate import LookGate, choose_looks
from edge.vision.tracker import Tracker, TrackUpdate
from edge.vision.zones import ZoneMonitor
from edge.vision.zoom import NO_WINDOWS, Zoom, detect_near

MIN_FACE_INSIDE = 0.7  # share of a face's box that must lie inside its person's


@dataclass(slots=True)
class CameraView:
    """What is known of one camera's objects.

    Attributes:
        looks: How many looks had windows; more windows than fit into one take turns.
        frame: The latest frame, with a black picture.
        previous: The view with other settings that this one goes on from.
    """

    filter: DetectionFilter
    tracker: Tracker
    zones: ZoneMonitor
    gate: LookGate
    zoom: Zoom
    looks: int = 0
    frame: Frame | None = None
    previous: CameraView | None = None

    @classmethod
    def create(
        cls,
        camera: Camera,
        classes: tuple[str, ...],
        track_ids: Iterator[int],
        previous: CameraView | None = None,
    ) -> CameraView:
        """Create the view of a configured camera.

        Raises:
            ConfigError: The camera names a label the detector does not know.
        """
        return cls(
            DetectionFilter(camera, classes),
            Tracker(camera.tracking, track_ids, classes, camera.name),
            ZoneMonitor(camera.zones, camera.lines, classes, camera.name),
            LookGate(camera.motion.look_every_s),
            Zoom.from_settings(camera),
            previous=previous,
        )

    def plan_windows(self, frame: Frame, detector: Detector) -> F32:
        """The parts of a frame that are looked at from near, ``(W, 4)`` xyxy."""
        if not self.zoom.enabled:
            return NO_WINDOWS
        self.looks += 1
        return self.zoom.plan(frame, self.tracker.locate(), detector.input_wh, self.looks)

    def follow(
        self, frame: Frame, detections: Detections, faces: Faces, look: Look = Look.ALWAYS
    ) -> FrameResult:
        """One frame's detections and faces -> its result; a new epoch ends all tracks."""
        at_s = frame.monotonic_s
        left = self._take_over(at_s)
        loss = None
        if self.frame and frame.epoch != self.frame.epoch:
            moved = frame.size_wh != self.frame.size_wh
            loss = self._lose(self.tracker.reset(at_s, moved=moved), at_s, left)
            left = ()
        update = self.tracker.update(self.filter.keep(detections, frame.size_wh), at_s)
        self.gate.note(followed=bool(len(faces)) or self.tracker.needs_looks())
        return self._finish(frame, update, left, faces, look, loss)

    def coast(self, frame: Frame) -> FrameResult:
        """The result of a frame that no network looked at."""
        left = self._take_over(frame.monotonic_s)
        update = self.tracker.coast(frame.monotonic_s)
        return self._finish(frame, update, left, Faces.empty(), Look.NONE)

    def _finish(
        self,
        frame: Frame,
        update: TrackUpdate,
        left: tuple[TrackEvent, ...],
        faces: Faces,
        look: Look,
        loss: TrackLoss | None = None,
    ) -> FrameResult:
        at_s = frame.monotonic_s
        left += self._leave(update.ended, at_s)
        zones, moves = self.zones.update(update.tracks, frame.size_wh, at_s)
        self.frame = replace(frame, picture=make_black(frame.size_wh))
        changes = (*left, *update.ended, *update.began, *moves)
        followed = self.gate.followed
        return FrameResult(
            frame, update.tracks, zones, faces, changes, loss=loss, look=look, followed=followed
        )

    def expire(self, silent_s: float) -> TrackLoss | None:
        """End the tracks that are out of time, ``silent_s`` after the latest frame."""
        if self.frame is None and self.previous is None:
            return None
        left = self._take_over(math.inf)
        if self.frame is None:
            return None
        at_s = self.frame.monotonic_s + silent_s
        ended = self.tracker.reset(at_s) if silent_s == math.inf else self.tracker.expire(at_s)
        return self._lose(ended, at_s, left)

    def change_classes(self, ids: I64) -> TrackLoss | None:
        """Go on with other class ids, ``(C,)`` by the one before; -1 ends tracks of that class."""
        left = self._take_over(math.inf)
        if self.frame is None:
            return None
        ended = self.tracker.change_classes(ids)
        loss = self._lose(ended, self.frame.monotonic_s, left)
        self.zones.change_classes(ids)
        return loss

    def _take_over(self, at_s: float) -> tuple[TrackEvent, ...]:
        """Go on with what the view with the previous settings knows."""
        previous, self.previous = self.previous, None
        if previous is None:
            return ()
        left = previous._take_over(at_s)  # noqa: SLF001 - of its own kind
        self.frame = previous.frame
        self.tracker.take_over(previous.tracker)
        return left + self.zones.take_over(previous.zones, at_s)

    def _leave(self, ended: tuple[TrackEvent, ...], at_s: float) -> tuple[TrackEvent, ...]:
        return self.zones.forget([event.track_id for event in ended], at_s) if ended else ()

    def _lose(
        self, ended: tuple[TrackEvent, ...], at_s: float, left: tuple[TrackEvent, ...] = ()
    ) -> TrackLoss | None:
        changes = (*left, *self._leave(ended, at_s), *ended)
        return TrackLoss(self.frame, changes) if changes and self.frame else None


class Pipeline:
    """Detection, face detection, tracking, recognition and classification of one batch.

    Args:
        detector: Detects objects.
        faces: Detects faces; None detects none.
        track_ids: Ids of new tracks, shared by all cameras.
        recognizer: Recognizes faces; None recognizes none.
        observer: Asks classifiers about objects and places; None asks nothing.

    Attributes:
        enlargers: Of the cameras whose faces are looked at in their main streams, by name; may be
            replaced at any time.
    """

    def __init__(
        self,
        detector: Detector,
        faces: FaceFinder | None,
        track_ids: Iterator[int],
        recognizer: Recognizer | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._detector = detector
        self._faces = faces
        self._track_ids = track_ids
        self._recognizer = recognizer
        self._observer = observer or Observer()
        self.enlargers: Mapping[str, Enlarger] = {}
        self._views: Mapping[str, CameraView] = {}
        self._recognizing = threading.Lock()

    @property
    def _person(self) -> int:
        return self.classes.index("person") if "person" in self.classes else -1

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class_id."""
        return self._detector.classes

    def watch(
        self, cameras: Sequence[Camera], renewed: frozenset[str] = frozenset()
    ) -> list[tuple[str, Classified]]:
        """Set the cameras that are watched; those not in ``renewed`` keep their tracks.

        Returns:
            Cameras, and what was told of the states of their places and holds no longer.

        Raises:
            ConfigError: Cameras name labels the detector does not know; all of them are told.
        """
        known = {name: view for name, view in self._views.items() if name not in renewed}
        self._views = self._create_views(cameras, known)
        if self._recognizer:
            self._recognizer.forget_other_cameras([n for n in self._views if n not in renewed])
        return self._observer.watch(cameras, renewed)

    def list_states(self) -> list[tuple[str, Classified]]:
        """Cameras, and what is known of the states of their places."""
        return self._observer.list_states()

    def exchange(
        self,
        detector: Detector,
        faces: FaceFinder | None,
        recognizer: Recognizer | None,
        observer: Observer | None = None,
    ) -> list[TrackLoss]:
        """Go on with other models; not while `step` runs, and before `watch`.

        Without another ``observer`` the one there is goes on.

        Returns:
            Tracks of classes that the detector does not know, which end; their class ids are those
            of the detector before.
        """
        losses = []
        if detector.classes != self.classes:
            known = {label: row for row, label in enumerate(detector.classes)}
            ids = np.array([known.get(label, -1) for label in self.classes], np.int64)
            found = [view.change_classes(ids) for view in self._views.values()]
            losses = [loss for loss in found if loss]
        self._detector, self._faces, self._recognizer = detector, faces, recognizer
        if observer:
            observer.take_over(self._observer)
            self._observer = observer
        return losses

    def _create_views(
        self, cameras: Sequence[Camera], known: Mapping[str, CameraView]
    ) -> dict[str, CameraView]:
        classes, ids = self._detector.classes, self._track_ids
        views = {}
        with collect_errors() as errors:
            for camera in cameras:
                with errors.catch():
                    previous = known.get(camera.name)
                    views[camera.name] = CameraView.create(camera, classes, ids, previous)
        return views

    def expire(self, camera: str, silent_s: float = math.inf) -> TrackLoss | None:
        """End the tracks of a camera that gave no frame for ``silent_s``; by default all of them.

        Not while `step` processes a frame of the camera.
        """
        view = self._views.get(camera)
        loss = view.expire(silent_s) if view else None
        if loss:
            self._observer.forget(camera, loss.changes)
        return loss

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Frames, those of one camera in its order -> one result per frame, in the same order."""
        views = self._views
        frames = [frame for frame in frames if frame.camera in views]  # removed by a reload
        if not frames:
            return []
        looks = choose_looks(frames, [views[frame.camera].gate for frame in frames])
        seen = [f for f, look in zip(frames, looks, strict=True) if look is not Look.NONE]
        found = iter(self._look(seen, views))
        results = [
            views[frame.camera].coast(frame) if look is Look.NONE
            else self._assign_faces(views[frame.camera].follow(frame, *next(found), look))
            for frame, look in zip(frames, looks, strict=True)
        ]  # fmt: skip
        if self._recognizer:
            with self._recognizing:
                results = [r for turn in split_turns(results) for r in self._recognize(turn)]
        if not self._observer.is_idle:
            results = [r for turn in split_turns(results) for r in self._observer.look(turn)]
        return results

    def _recognize(self, results: Sequence[FrameResult]) -> list[FrameResult]:
        """Decide who faces are, in pictures of main streams where there are some."""
        assert self._recognizer  # noqa: S101 - for mypy
        enlargers = self.enlargers
        seen = [
            enlargers[r.frame.camera].enlarge(r) if r.frame.camera in enlargers else r
            for r in results
        ]
        looked = self._recognizer.look(seen)
        return [
            restore(result, look) if result.frame.camera in enlargers else look
            for result, look in zip(results, looked, strict=True)
        ]

    def _look(
        self, frames: Sequence[Frame], views: Mapping[str, CameraView]
    ) -> Iterable[tuple[Detections, Faces]]:
        """What the detectors find in each frame."""
        if not frames:
            return ()
        windows = [views[frame.camera].plan_windows(frame, self._detector) for frame in frames]
        detections = detect_near(self._detector, frames, windows)
        faces = self._faces.find(frames) if self._faces else [Faces.empty()] * len(frames)
        return zip(detections, faces, strict=True)

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
