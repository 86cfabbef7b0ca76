"""The frame queue: one waiting frame per camera, replaced in place, taken in turn.

Files that are read with ``every_frame`` may have several waiting frames, which are taken together:
decoding several in a row, then running inference on several, keeps code and data in the caches.

Several threads may take frames. A camera's next frame is not given out before its last one is done,
so that each camera's frames are processed in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from edge.types import Frame

MAX_READ_AHEAD = 8  # waiting frames per file
MAX_REGIONS = 64  # of frames that were replaced
MAX_READ_AHEAD_PX = 36_000_000  # pixels that wait of all files together, some 54 MB


def compute_read_ahead(size_wh: tuple[int, int], files: int) -> int:
    """The number of frames of each file that may wait."""
    return max(1, min(MAX_READ_AHEAD, MAX_READ_AHEAD_PX // (files * size_wh[0] * size_wh[1])))


def _add_motion(frame: Frame, replaced: Frame) -> Frame:
    """A frame with what moved in the one it replaces, at which nobody has looked."""
    if replaced.moving and frame.moving is False:
        frame = replace(frame, moving=True)
    if frame.epoch == replaced.epoch and frame.regions is not None and replaced.regions is not None:
        regions = np.concatenate([frame.regions, replaced.regions])[:MAX_REGIONS]
        frame = replace(frame, regions=regions)
    return frame


class FrameQueue:
    """The newest unread frame of every camera.

    A new frame replaces the unread one **in place**: it keeps its turn, so that a fast camera
    cannot push a slow one back, and none starves. What moved in the unread one counts for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, list[Frame]] = {}  # in order of turn
        self._in_progress: set[str] = set()
        self._files: set[str] = set()  # cameras with every_frame
        self._live: dict[str, float] = {}  # the others, and when each gave its last frame
        self._lost: dict[str, float] = {}  # files that failed then; -infinity: ended for good
        lock = threading.Lock()
        self._frame_ready = threading.Condition(lock)  # takers wait here
        self._room_free = threading.Condition(lock)  # putters of every_frame wait here
        self._closed = False

    def put(self, frame: Frame) -> bool:
        """Queue a frame; True when it replaced an unread one."""
        with self._frame_ready:
            if self._closed:
                return False
            self._live[frame.camera] = self._clock()
            self._lost.pop(frame.camera, None)
            replaced = self._waiting.get(frame.camera)
            self._put(frame.camera, [_add_motion(frame, replaced[-1]) if replaced else frame])
            return replaced is not None

    def _put(self, camera: str, frames: list[Frame]) -> None:
        self._waiting[camera] = frames
        if camera not in self._in_progress:
            self._frame_ready.notify()  # one: waking every worker would cost them all

    def put_when_free(self, frame: Frame, stop: threading.Event) -> None:
        """Queue a frame once there is room: for sources with every_frame.

        While live cameras run there is room for one, because their frames must not wait.
        """
        with self._room_free:
            if stop.is_set():  # the camera may be removed already
                return
            self._files.add(frame.camera)
            self._lost.pop(frame.camera, None)
            room = 1 if self._live else compute_read_ahead(frame.size_wh, len(self._files))
            while len(self._waiting.get(frame.camera, ())) >= room and not (
                self._closed or stop.is_set()
            ):
                self._room_free.wait(0.1)
            if not (self._closed or stop.is_set()):
                self._put(frame.camera, [*self._waiting.get(frame.camera, ()), frame])

    def is_done(self, camera: str, timeout_s: float) -> bool:
        """Whether every frame of a camera is done, waiting at most ``timeout_s``."""

        def is_done() -> bool:
            return self._closed or not (camera in self._waiting or camera in self._in_progress)

        with self._room_free:
            done = self._room_free.wait_for(is_done, timeout_s)
            if done:
                self._files.discard(camera)
            return done

    def take(
        self, max_cameras: int, max_delay_s: float, timeout_s: float, max_frames: int = 256
    ) -> list[Frame]:
        """Take the frames of the cameras whose turn it is; call `done` afterwards.

        Args:
            max_cameras: Limit of cameras.
            max_delay_s: How long to wait for others after the first.
            timeout_s: How long to wait for the first.
            max_frames: Limit of frames; the others wait on.

        Returns:
            Frames in order of turn, one of each camera, then the second ones; empty after the
            timeout or when closed.
        """
        with self._frame_ready:
            self._frame_ready.wait_for(lambda: self._ready() or self._closed, timeout_s)
            deadline = self._clock() + max_delay_s
            while 0 < len(self._ready()) < max_cameras and not self._closed:
                rest = deadline - self._clock()
                if rest <= 0:
                    break
                self._frame_ready.wait(rest)
            taken: list[list[Frame]] = []
            for camera in self._ready()[:max_cameras]:
                if max_frames:
                    taken.append(self._pop(camera, max_frames))
                    max_frames -= len(taken[-1])
            frames = [frame for turn in zip_longest(*taken) for frame in turn if frame]
            if frames:
                self._in_progress.update(frame.camera for frame in frames)
                self._room_free.notify_all()
            return frames

    def lose(self, camera: str) -> None:
        """Note that a camera failed: from now on its silence counts, also for a file."""
        with self._frame_ready:
            now_s = self._clock()
            self._lost.setdefault(camera, min(self._live.get(camera, now_s), now_s))

    def rest(self, camera: str) -> None:
        """Note that a camera means to be silent until its next frame: its silence says nothing."""
        with self._frame_ready:
            if camera in self._live:
                self._live[camera] = float("inf")

    def finish(self, camera: str) -> None:
        """Note that no frame of a camera will follow."""
        with self._frame_ready:
            self._lost[camera] = float("-inf")
            self._live.pop(camera, None)

    def claim_silent(self, min_silence_s: float) -> list[tuple[str, float]]:
        """Claim the cameras without frames for ``min_silence_s``; call `release` afterwards.

        Returns:
            Their names and for how long each was silent, in seconds; infinite where no frame will
            follow.
        """
        with self._frame_ready:
            now_s = self._clock()
            silent = [
                (camera, now_s - since_s)
                for camera, since_s in (self._live | self._lost).items()
                if now_s - since_s >= min_silence_s
                and camera not in self._waiting
                and camera not in self._in_progress
            ]
            self._in_progress.update(camera for camera, _ in silent)
            for camera, silent_s in silent:
                if silent_s == float("inf"):
                    del self._lost[camera]
            return silent

    def claim(self, camera: str, timeout_s: float) -> bool:
        """Claim a camera once no frame of it is in progress; call `release` afterwards."""
        with self._room_free:
            free = self._room_free.wait_for(lambda: camera not in self._in_progress, timeout_s)
            if free:
                self._in_progress.add(camera)
            return free

    def _pop(self, camera: str, max_frames: int) -> list[Frame]:
        waiting = self._waiting.pop(camera)
        if len(waiting) > max_frames:
            self._waiting[camera] = waiting[max_frames:]  # behind the others
        return waiting[:max_frames]

    def done(self, frames: Sequence[Frame]) -> None:
        """Release frames after inference: their cameras' next frames may be taken."""
        self.release(frame.camera for frame in frames)

    def release(self, cameras: Iterable[str]) -> None:
        """Release cameras: their next frames may be taken."""
        with self._frame_ready:
            self._in_progress.difference_update(cameras)
            self._frame_ready.notify(len(self._ready()))
            self._room_free.notify_all()

    def _ready(self) -> list[str]:
        """Cameras whose frame may be taken, in order of turn."""
        return [camera for camera in self._waiting if camera not in self._in_progress]

    def forget(self, camera: str) -> None:
        """Drop the frames of a camera that was removed."""
        with self._room_free:
            self._waiting.pop(camera, None)
            self._files.discard(camera)
            self._live.pop(camera, None)
            self._lost.pop(camera, None)
            self._room_free.notify_all()

    def close(self) -> None:
        """Wake all waiting threads; from here on nothing is queued or taken."""
        with self._frame_ready:
            self._closed = True
            self._waiting.clear()
            self._frame_ready.notify_all()
            self._room_free.notify_all()
