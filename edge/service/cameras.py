"""A camera's thread: connect, hand frames to the slots, notice trouble, connect again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edge import config
from edge.errors import SourceDeniedError, SourceError
from edge.ports import Source
from edge.service.backoff import Backoff
from edge.service.frame_queue import FrameQueue
from edge.service.metrics import CameraMetrics
from edge.service.workers import Worker
from edge.types import U8, CameraState, CameraStatus, Capture, Frame, RgbPicture

log = logging.getLogger(__name__)

CONNECTING = "connecting"


class FrameRateLimiter:
    """Which captures are due at a camera's fps.

    The due times lie on a grid, so that a camera of 25 frames a second that is asked for 10
    gives 10 on average, not 8.3. A silence longer than a period moves the grid.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._due_s = float("-inf")

    def is_due(self, at_s: float) -> bool:
        """Whether a capture at ``at_s`` (monotonic) is to be looked at."""
        if at_s < self._due_s - 1e-3:
            return False
        late_s = at_s - self._due_s
        self._due_s = (self._due_s if late_s < self._period_s else at_s) + self._period_s
        return True


class FreezeDetector:
    """Notices that a camera repeats one picture: a real sensor has noise.

    Args:
        after_s: the same picture for so long is frozen; 0 never.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._sample: U8 | None = None
        self._since_s = 0.0
        self._looked_s = float("-inf")

    def is_frozen(self, capture: Capture) -> bool:
        """Look at a capture, four times a second at most."""
        if not self._after_s:
            return False
        now_s = capture.monotonic_s
        if now_s - self._looked_s >= 0.25:
            self._looked_s = now_s
            picture = capture.picture
            plane = picture.rgb if isinstance(picture, RgbPicture) else picture.y
            sample = plane[::9, ::7].copy()
            if self._sample is None or not np.array_equal(sample, self._sample):
                self._sample, self._since_s = sample, now_s
        return now_s - self._since_s >= self._after_s


@dataclass(slots=True)
class CameraLoop:
    """Everything one camera's thread needs.

    Attributes:
        camera: its configuration.
        source: where captures come from.
        slots: where frames go.
        epochs: numbers for connections, shared by all cameras.
        metrics: its series.
        report: takes its states.
        backoff: delays between connections.
    """

    camera: config.Camera
    source: Source
    slots: FrameQueue
    epochs: Iterator[int]
    metrics: CameraMetrics
    report: Callable[[CameraStatus], None]
    backoff: Backoff
    epoch: int = 0
    said: tuple[int, CameraState, str, tuple[int, int]] | None = None

    def run(self, worker: Worker) -> None:
        """Until stopped, or until a file ended."""
        self._say(CameraState.OFFLINE, CONNECTING)
        while not worker.stop.is_set():
            try:
                self._watch(worker)
            except SourceDeniedError as error:
                self._say(CameraState.OFFLINE, str(error))
                delay_s = self.backoff.growing()
            except SourceError as error:
                self._say(CameraState.OFFLINE, str(error))
                delay_s = self.backoff.short()
            else:
                while not (worker.stop.is_set() or self._is_done()):
                    worker.mark_progress()
                if not worker.stop.is_set():
                    self._say(CameraState.OFFLINE, "end of file")
                    worker.finish()
                return
            self._rest(worker, delay_s)

    def _watch(self, worker: Worker) -> None:
        """One connection, from opening to its end."""
        pace = FrameRateLimiter(self.camera.fps)
        still = FreezeDetector(self.camera.frozen_after_s)
        with self.source.connect(worker.stop) as captures:
            worker.mark_progress()
            for seq, capture in enumerate(captures):
                if seq == 0:
                    self._begin()
                worker.mark_progress()
                self.metrics.captured.inc()
                self.metrics.last_frame.set(capture.captured_s)
                if self.source.every_frame or pace.is_due(capture.monotonic_s):
                    self._look(capture, seq, still, worker.stop)
                else:
                    self.metrics.not_due.inc()

    def _is_done(self) -> bool:
        """Whether the end can be told: every frame of a file was looked at."""
        return not self.source.every_frame or self.slots.is_done(self.camera.name, timeout_s=0.5)

    def _begin(self) -> None:
        if self.epoch:
            self.metrics.reconnects.inc()
        self.epoch = next(self.epochs)
        self.backoff.reset()

    def _look(
        self, capture: Capture, seq: int, still: FreezeDetector, stop: threading.Event
    ) -> None:
        frame = Frame(
            self.camera.name,
            self.epoch,
            seq,
            capture.captured_s,
            capture.monotonic_s,
            capture.picture,
        )
        if still.is_frozen(capture):
            problem = f"the same picture for {self.camera.frozen_after_s:g} s"
            self._say(CameraState.FROZEN, problem, frame.size_wh)
        else:
            self._say(CameraState.ONLINE, "delivers", frame.size_wh)
        if self.source.every_frame:
            self.slots.put_when_free(frame, stop)
        elif self.slots.put(frame):
            self.metrics.replaced.inc()

    def _say(self, state: CameraState, reason: str, size_wh: tuple[int, int] = (0, 0)) -> None:
        said = (self.epoch, state, reason, size_wh)
        if said != self.said:
            self.said = said
            self.report(
                CameraStatus(self.camera.name, self.epoch, state, reason, time.time(), size_wh)
            )

    def _rest(self, worker: Worker, delay_s: float) -> None:
        """Wait, with a pulse each second, so that a patient camera does not look dead."""
        deadline_s = time.monotonic() + delay_s
        while (rest_s := deadline_s - time.monotonic()) > 0:
            worker.mark_progress()
            if worker.stop.wait(min(rest_s, 1)):
                return
