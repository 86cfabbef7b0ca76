"""Slots: at most one waiting frame per camera, replaced in place, taken in turn.

Several threads may take frames. What they took is theirs until they are done with it, and a
camera's next frame is not given to anybody before: so each camera's frames are looked at in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from edge.types import Frame


class LatestFrames:
    """The newest unread frame of every camera.

    A new frame takes the place of the unread one **in place**: it keeps its turn, so that a
    fast camera cannot push a slow one back, and nobody starves.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, Frame] = {}  # in order of turn
        self._looked_at: set[str] = set()
        lock = threading.Lock()
        self._ready_again = threading.Condition(lock)  # who takes waits here
        self._free_again = threading.Condition(lock)  # who puts every frame waits here
        self._closed = False

    def put(self, frame: Frame) -> bool:
        """Leave a frame; true when it replaced one that nobody had read."""
        with self._ready_again:
            if self._closed:
                return False
            replaced = frame.camera in self._waiting
            self._put(frame)
            return replaced

    def _put(self, frame: Frame) -> None:
        self._waiting[frame.camera] = frame
        if frame.camera not in self._looked_at:
            self._ready_again.notify()  # one: waking every lane for it would cost them all

    def put_when_free(self, frame: Frame, stop: threading.Event) -> None:
        """Leave a frame once the camera's last one was taken: for files where all count."""
        with self._free_again:
            while frame.camera in self._waiting and not (self._closed or stop.is_set()):
                self._free_again.wait(0.1)
            if not (self._closed or stop.is_set()):
                self._put(frame)

    def take(self, most: int, patience_s: float, timeout_s: float) -> list[Frame]:
        """Frames whose turn it is, at most one a camera; tell when you are `done` with them.

        Args:
            most: frames at most.
            patience_s: after the first frame, how long to wait for others.
            timeout_s: how long to wait for the first.

        Returns:
            Frames in order of turn; empty after the time-out or when closed.
        """
        with self._ready_again:
            self._ready_again.wait_for(lambda: self._ready() or self._closed, timeout_s)
            deadline = self._clock() + patience_s
            while 0 < len(self._ready()) < most and not self._closed:
                rest = deadline - self._clock()
                if rest <= 0:
                    break
                self._ready_again.wait(rest)
            frames = [self._waiting.pop(camera) for camera in self._ready()[:most]]
            if frames:
                self._looked_at.update(frame.camera for frame in frames)
                self._free_again.notify_all()
            return frames

    def done(self, frames: Sequence[Frame]) -> None:
        """These were looked at: their cameras' next frames may be taken."""
        with self._ready_again:
            self._looked_at.difference_update(frame.camera for frame in frames)
            self._ready_again.notify(len(self._ready()))

    def _ready(self) -> list[str]:
        """Cameras whose frame may be taken, in order of turn."""
        return [camera for camera in self._waiting if camera not in self._looked_at]

    def forget(self, camera: str) -> None:
        """Drop what waits for a camera that was removed."""
        with self._free_again:
            self._waiting.pop(camera, None)
            self._free_again.notify_all()

    def close(self) -> None:
        """Wake everybody; nothing is taken or left any more."""
        with self._ready_again:
            self._closed = True
            self._waiting.clear()
            self._ready_again.notify_all()
            self._free_again.notify_all()
