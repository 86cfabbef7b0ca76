"""The event desk: where what is found in all cameras becomes events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge.config import Camera
from edge.events.camera_events import CameraEvents, EventUpdate
from edge.events.ids import EventIds
from edge.types import CameraStatus, FrameResult, TrackLoss


@dataclass(slots=True)
class EventDesk:
    """The events of all cameras; safe to call from any thread.

    Attributes:
        put: Takes the changes of events, in order; must be quick.
    """

    classes: Sequence[str]
    put: Callable[[Sequence[EventUpdate]], None]
    _ids: EventIds = field(default_factory=EventIds)
    _cameras: Mapping[str, CameraEvents] = field(default_factory=dict)
    _enrolled: frozenset[str] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, cameras: Sequence[Camera]) -> None:
        """Set the cameras; events of one whose settings changed go on."""
        with self._lock:
            watched = {}
            for camera in cameras:
                events = self._cameras.get(camera.name)
                if events is None:
                    events = CameraEvents(camera, self.classes, self._ids.make)
                    if self._enrolled is not None:
                        events.retain_people(self._enrolled)
                events.camera = camera
                watched[camera.name] = events
            for name, events in self._cameras.items():
                if name not in watched:
                    self.put(events.close())
            self._cameras = watched

    def note(self, result: FrameResult) -> None:
        """Take a frame into account; that of a camera without rules costs nothing."""
        events = self._cameras.get(result.frame.camera)
        if events and events.camera.events:
            with self._lock:
                self.put(events.note(result))

    def note_loss(self, loss: TrackLoss) -> None:
        """Take the end of tracks into account."""
        with self._lock:
            if events := self._cameras.get(loss.frame.camera):
                self.put(events.note_loss(loss))

    def note_status(self, status: CameraStatus) -> None:
        """Take the state of a camera into account."""
        with self._lock:
            if events := self._cameras.get(status.camera):
                self.put(events.note_status(status))

    def retain_people(self, people: frozenset[str]) -> None:
        """Name nobody else from now on, also in events that go on; ids."""
        with self._lock:
            self._enrolled = people
            for events in self._cameras.values():
                events.retain_people(people)

    def change_classes(self, classes: Sequence[str]) -> None:
        """Read class ids by other names from now on."""
        with self._lock:
            self.classes = classes
            for events in self._cameras.values():
                events.change_classes(classes)

    def tick(self) -> None:
        """Take into account that time passes."""
        now_s = time.time()
        with self._lock:
            for events in self._cameras.values():
                self.put(events.tick(now_s))

    def close(self) -> None:
        """End what goes on."""
        self.watch([])
