"""Slots: at most one waiting frame per camera, replaced in place, taken in turn.

Of a file whose every frame counts a few wait and are taken together: decoding several in a row,
and then looking at several in a row, finds code and data in the processor's caches.

Several threads may take frames. What they took is theirs until they are done with it, and a
camera's next frame is not given to anybody before: so each camera's frames are looked at in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

from edge.types import Frame

READ_AHEAD = 8  # frames of a file that wait at most,
READ_AHEAD_PX = 36_000_000  # and the pixels of all files together, some 54 MB


def read_ahead(size_wh: tuple[int, int], files: int) -> int:
    """How many frames of each file wait at most."""
    return max(1, min(READ_AHEAD, READ_AHEAD_PX // (files * size_wh[0] * size_wh[1])))


class FrameQueue:
    """The newest unread frame of every camera.

    A new frame takes the place of the unread one **in place**: it keeps its turn, so that a
    fast camera cannot push a slow one back, and nobody starves.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, list[Frame]] = {}  # in order of turn
        self._looked_at: set[str] = set()
        self._files: set[str] = set()  # cameras whose every frame counts
        self._live: set[str] = set()  # the others
        lock = threading.Lock()
        self._ready_again = threading.Condition(lock)  # who takes waits here
        self._free_again = threading.Condition(lock)  # who puts every frame waits here
        self._closed = False

    def put(self, frame: Frame) -> bool:
        """Leave a frame; true when it replaced one that nobody had read."""
        with self._ready_again:
            if self._closed:
                return False
            self._live.add(frame.camera)
            replaced = frame.camera in self._waiting
            self._put(frame.camera, [frame])
            return replaced

    def _put(self, camera: str, frames: list[Frame]) -> None:
        self._waiting[camera] = frames
        if camera not in self._looked_at:
            self._ready_again.notify()  # one: waking every lane for it would cost them all

    def put_when_free(self, frame: Frame, stop: threading.Event) -> None:
        """Leave a frame once there is room: for files where all count.

        Beside live cameras there is room for one: their frames must not wait for several.
        """
        with self._free_again:
            if stop.is_set():  # it may be forgotten already
                return
            self._files.add(frame.camera)
            room = 1 if self._live else read_ahead(frame.size_wh, len(self._files))
            while len(self._waiting.get(frame.camera, ())) >= room and not (
                self._closed or stop.is_set()
            ):
                self._free_again.wait(0.1)
            if not (self._closed or stop.is_set()):
                self._put(frame.camera, [*self._waiting.get(frame.camera, ()), frame])

    def is_done(self, camera: str, timeout_s: float) -> bool:
        """Whether every frame of a camera was looked at before the time-out."""
        with self._free_again:
            done = self._free_again.wait_for(
                lambda: self._closed or not (camera in self._waiting or camera in self._looked_at),
                timeout_s,
            )
            if done:
                self._files.discard(camera)
            return done

    def take(
        self, cameras: int, patience_s: float, timeout_s: float, most: int = 256
    ) -> list[Frame]:
        """What waits for the cameras whose turn it is; tell when you are `done` with it.

        Args:
            cameras: how many at most.
            patience_s: after the first one, how long to wait for others.
            timeout_s: how long to wait for the first.
            most: frames at most; what is too much waits on.

        Returns:
            Frames in order of turn, one of each camera, then the second ones; empty after the
            time-out or when closed.
        """
        with self._ready_again:
            self._ready_again.wait_for(lambda: self._ready() or self._closed, timeout_s)
            deadline = self._clock() + patience_s
            while 0 < len(self._ready()) < cameras and not self._closed:
                rest = deadline - self._clock()
                if rest <= 0:
                    break
                self._ready_again.wait(rest)
            taken: list[list[Frame]] = []
            for camera in self._ready()[:cameras]:
                if most:
                    taken.append(self._pop(camera, most))
                    most -= len(taken[-1])
            frames = [frame for turn in zip_longest(*taken) for frame in turn if frame]
            if frames:
                self._looked_at.update(frame.camera for frame in frames)
                self._free_again.notify_all()
            return frames

    def _pop(self, camera: str, most: int) -> list[Frame]:
        waiting = self._waiting.pop(camera)
        if len(waiting) > most:
            self._waiting[camera] = waiting[most:]  # behind the others
        return waiting[:most]

    def done(self, frames: Sequence[Frame]) -> None:
        """These were looked at: their cameras' next frames may be taken."""
        with self._ready_again:
            self._looked_at.difference_update(frame.camera for frame in frames)
            self._ready_again.notify(len(self._ready()))
            self._free_again.notify_all()

    def _ready(self) -> list[str]:
        """Cameras whose frame may be taken, in order of turn."""
        return [camera for camera in self._waiting if camera not in self._looked_at]

    def forget(self, camera: str) -> None:
        """Drop what waits for a camera that was removed."""
        with self._free_again:
            self._waiting.pop(camera, None)
            self._files.discard(camera)
            self._live.discard(camera)
            self._free_again.notify_all()

    def close(self) -> None:
        """Wake everybody; nothing is taken or left any more."""
        with self._ready_again:
            self._closed = True
            self._waiting.clear()
            self._ready_again.notify_all()
            self._free_again.notify_all()
