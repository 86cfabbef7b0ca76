"""A camera's thread: connect, queue frames, notice trouble, reconnect."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from edge.config import Camera
from edge.errors import SourceDeniedError, SourceEndedError, SourceError
from edge.frame_rate_limiter import FrameRateLimiter
from edge.ports import Source, SparingSource
from edge.service.backoff import Backoff
from edge.service.flaps import FlapMeter
from edge.service.frame_queue import FrameQueue
from edge.service.freeze_detector import FreezeDetector
from edge.service.metrics import CameraMetrics
from edge.service.picture_quality import DETAIL, DamageMeter, PictureQuality
from edge.service.sleep import Sleep
from edge.service.workers import Worker
from edge.types import (
    CameraState,
    CameraStatus,
    Capture,
    Decoding,
    Frame,
    FrameResult,
    Picture,
    StatusReason,
)
from edge.vision.motion import MotionDetector, find_regions

# From the most sparing on; of what is set always and asleep, the more sparing one counts.
_SPARING = (Decoding.KEY_FRAMES, Decoding.NO_LOOP_FILTER, Decoding.ALL)
_LOOK_FPS = 2  # at least, for what judges pictures
END_OF_RECORDING = "end of file"  # the reason of a recording that was read to its end


def _make_freeze_detector(camera: Camera) -> FreezeDetector:
    """A detector for a camera; none for a recording that loops, whose pictures must repeat."""
    return FreezeDetector(0 if camera.source.get("loop") else camera.frozen_after_s)


@dataclass(slots=True)
class CameraLoop:
    """The work of one camera's thread.

    Attributes:
        camera: Its settings; another with the same source may take its place at any time.
        queue: Where frames wait for inference.
        epochs: Ids for connections, shared by all cameras.
        report: Called with every change of the camera's state.
        epoch: The present connection, 0 before the first one.
        reported: The state that was reported last.
        freeze: Compares pictures, over connections: a frozen camera may flap as well.
        flaps: Connections that came and went.
        followed: Whether somebody was in the last picture that was looked at.
        sleep: Whether nothing happens.
    """

    camera: Camera
    source: Source
    queue: FrameQueue
    epochs: Iterator[int]
    metrics: CameraMetrics
    report: Callable[[CameraStatus], None]
    backoff: Backoff
    epoch: int = 0
    reported: tuple[object, ...] = ()
    freeze: FreezeDetector = field(init=False)
    flaps: FlapMeter = field(default_factory=FlapMeter)
    followed: bool = False
    sleep: Sleep = field(default_factory=Sleep)
    _sparing: SparingSource | None = field(init=False)

    def __post_init__(self) -> None:
        self.freeze = _make_freeze_detector(self.camera)
        self._sparing = self.source if isinstance(self.source, SparingSource) else None

    def run(self, worker: Worker) -> None:
        """Run until stopped, or until a file ended."""
        self._report(CameraState.OFFLINE, StatusReason.CONNECTING, "connecting")
        while not worker.stop.is_set():
            try:
                self._deliver(worker)
                self._finish(worker, END_OF_RECORDING)
                return
            except SourceEndedError as error:
                self._finish(worker, str(error))
                return
            except SourceDeniedError as error:
                self._report(CameraState.OFFLINE, StatusReason.ACCESS_DENIED, str(error))
                delay_s = self.backoff.growing()
            except SourceError as error:
                if self.flaps.end():
                    self.metrics.flaps.inc()
                flapping = self.flaps.is_flapping()
                self._report(CameraState.OFFLINE, StatusReason.SOURCE_FAILED, str(error))
                delay_s = self.backoff.growing() if flapping else self.backoff.short()
            self.queue.lose(self.camera.name)
            self._wait(worker, delay_s)

    def report_hang(self, silent_s: float) -> None:
        """Say that the source hangs in a call that nothing can interrupt; from any thread."""
        problem = (
            f"no sign of life for {silent_s:.0f} s: the source hangs in the driver or the file "
            "system; repair it, then restart the node if it does not go on"
        )
        self._report(CameraState.OFFLINE, StatusReason.HANGS, problem)

    def _deliver(self, worker: Worker) -> None:
        """One connection, from opening to its end."""
        settings = self.camera
        limiter, quality = FrameRateLimiter(settings.fps), PictureQuality()
        self.sleep.wake()
        self._choose_decoding()
        damage, motion = DamageMeter(), self._make_motion_detector()
        with self.source.connect(worker.stop) as captures:
            worker.mark_progress()
            for seq, capture in enumerate(captures):
                if seq == 0:
                    self._begin_epoch()
                if settings is not self.camera:  # a reload may change them
                    limiter = FrameRateLimiter(self.camera.fps)
                    if settings.frozen_after_s != self.camera.frozen_after_s:
                        self.freeze = _make_freeze_detector(self.camera)
                    if (settings.motion, settings.zoom) != (self.camera.motion, self.camera.zoom):
                        motion = self._make_motion_detector()
                    settings = self.camera
                worker.mark_progress()
                self._count(capture)
                is_blind = self._judge(capture, quality, damage)
                if self.source.every_frame or limiter.is_due(capture.monotonic_s):
                    self._queue(capture, seq, worker.stop, motion, is_blind=is_blind)
                else:
                    self.metrics.not_due.inc()
                self._choose_decoding(capture.monotonic_s)

    def note(self, result: FrameResult) -> None:
        """Take into account what a look at a frame has found; from any thread."""
        self.followed = result.followed
        self.sleep.note(result)

    def _choose_decoding(self, now_s: float = float("-inf")) -> None:
        if self._sparing:
            settings = self.camera
            asleep = self.sleep.is_asleep(now_s)
            self._sparing.decoding = min(
                Decoding(settings.decode),
                Decoding(settings.motion.decode_asleep if asleep else settings.decode),
                key=_SPARING.index,
            )
            self._sparing.max_fps = settings.fps * math.ceil(_LOOK_FPS / settings.fps)
            if self._sparing.decoding is Decoding.KEY_FRAMES:
                self.queue.rest(self.camera.name)

    def _count(self, capture: Capture) -> None:
        metrics = self.metrics
        metrics.captured.inc(1 + capture.passed)
        metrics.not_due.inc(capture.passed)
        metrics.damaged.inc(capture.damaged)
        metrics.undecoded.inc(capture.undecoded)
        metrics.late.inc(capture.late)
        metrics.lag.set(capture.lag_s)
        metrics.last_frame.set(time.time())

    def _make_motion_detector(self) -> MotionDetector | None:
        settings = self.camera.motion
        if not (self._is_gated() or self.camera.zoom):
            return None
        return MotionDetector(settings.masks, settings.min_change)

    def _is_gated(self) -> bool:
        """Whether networks look at the camera only where something moves."""
        enabled = self.camera.motion.enabled
        return not self.source.every_frame if enabled is None else enabled

    def _judge(self, capture: Capture, quality: PictureQuality, damage: DamageMeter) -> bool:
        """Report what the camera shows; whether it shows nothing that lives."""
        size_wh = capture.picture.size_wh
        is_frozen = self.freeze.is_frozen(capture)
        flaw, is_damaged = quality.find_flaw(capture), damage.is_damaged(capture)
        if flaw:
            self._report(CameraState.BLIND, flaw, DETAIL[flaw], size_wh)
        elif is_frozen:
            problem = f"the same picture for {self.camera.frozen_after_s:g} s"
            self._report(CameraState.FROZEN, StatusReason.FROZEN_PICTURE, problem, size_wh)
        elif is_damaged:
            problem = 'much of the stream is damaged: check the network, or use transport = "tcp"'
            self._report(CameraState.DEGRADED, StatusReason.DAMAGED_STREAM, problem, size_wh)
        else:
            self._report(CameraState.ONLINE, StatusReason.DELIVERS, "delivers", size_wh)
        return is_frozen or flaw is not None

    def _finish(self, worker: Worker, reason: str) -> None:
        """Wait until inference has seen all of a file, then say that it ended."""
        self.queue.finish(self.camera.name)
        while not (worker.stop.is_set() or self._is_done()):
            worker.mark_progress()
        if not worker.stop.is_set():
            self._report(CameraState.OFFLINE, StatusReason.END_OF_FILE, reason)
            worker.finish()

    def _is_done(self) -> bool:
        """Whether inference has finished with every frame of a file."""
        return not self.source.every_frame or self.queue.is_done(self.camera.name, timeout_s=0.5)

    def _begin_epoch(self) -> None:
        if self.epoch:
            self.metrics.reconnects.inc()
        self.epoch = next(self.epochs)
        self.flaps.begin()
        if not self.flaps.is_flapping():
            self.backoff.reset()

    def _queue(
        self,
        capture: Capture,
        seq: int,
        stop: threading.Event,
        motion: MotionDetector | None,
        *,
        is_blind: bool,
    ) -> None:
        frame = Frame(
            self.camera.name,
            self.epoch,
            seq,
            capture.captured_s,
            capture.monotonic_s,
            show_as(capture.picture, self.camera.aspect),
            capture.arrived_s,
            is_blind,
        )
        if motion:
            frame = self._add_motion(frame, motion)
        if self.source.every_frame:
            self.queue.put_when_free(frame, stop)
        elif self.queue.put(frame):
            self.metrics.replaced.inc()

    def _add_motion(self, frame: Frame, motion: MotionDetector) -> Frame:
        """The frame with what moves in it."""
        cells = motion.update(frame.picture, frame.monotonic_s, followed=self.followed)
        moving = bool(cells.any()) if self._is_gated() else None
        if moving:
            self.sleep.wake(frame.monotonic_s)
        regions = find_regions(cells, frame.picture) if self.camera.zoom else None
        return replace(frame, moving=moving, regions=regions)

    def _report(
        self, state: CameraState, code: StatusReason, reason: str, size_wh: tuple[int, int] = (0, 0)
    ) -> None:
        if code in (StatusReason.DELIVERS, StatusReason.SOURCE_FAILED) and self.flaps.is_flapping():
            if not self.flaps.is_due():
                return
            last = f"; {reason}" if code is StatusReason.SOURCE_FAILED else ""
            state, code = CameraState.DEGRADED, StatusReason.FLAPPING
            reason = self.flaps.describe() + last
        reported = (self.epoch, state, reason, size_wh)
        if reported != self.reported:
            self.reported = reported
            name, epoch, now_s = self.camera.name, self.epoch, time.time()
            self.report(CameraStatus(name, epoch, state, reason, code, now_s, size_wh))

    def _wait(self, worker: Worker, delay_s: float) -> None:
        """Wait, marking progress each second, so that a waiting camera does not look dead."""
        deadline_s = time.monotonic() + delay_s
        while (rest_s := deadline_s - time.monotonic()) > 0:
            worker.mark_progress()
            if worker.stop.wait(min(rest_s, 1)):
                return


def show_as(picture: Picture, aspect: float) -> Picture:
    """The picture in a shape of ``aspect``, width over height; 0 leaves it as the source says."""
    width, height = picture.size_wh
    return replace(picture, pixel_aspect=aspect * height / width) if aspect else picture
