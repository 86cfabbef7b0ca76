"""The inference pool: workers that take frames, run the pipeline and hand on the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.config import Batching
from edge.pipeline import Pipeline
from edge.service.frame_queue import FrameQueue
from edge.service.gate import Gate
from edge.service.health import HealthBoard
from edge.service.metrics import Metrics
from edge.service.workers import Worker, WorkerGroup
from edge.types import Frame, FrameResult, TrackLoss

MAX_FILE_BATCH_S = 0.5  # the watchdog and SIGTERM must not wait longer for frames of files
MAX_BATCH_S = 2.0  # with tiles a frame may take a second, and the watchdog waits for all of them
SWEEP_S = 0.25
MAX_DELAY_RATIO = 0.25  # of a batch's duration: a longer delay costs more than it saves


class BatchTimer:
    """Running estimates of what a batch and a frame cost, shared by all workers."""

    def __init__(self) -> None:
        self.batch_s = self.frame_s = 0.0
        self._lock = threading.Lock()

    def record(self, batch_s: float, frames: int) -> None:
        """Take the duration of one batch into account; a slower frame counts at once."""
        frame_s = batch_s / frames
        with self._lock:
            self.batch_s += 0.1 * (batch_s - self.batch_s)
            self.frame_s = max(frame_s, self.frame_s + 0.1 * (frame_s - self.frame_s))


@dataclass(slots=True)
class InferencePool:
    """Runs the pipeline on waiting frames, in one thread per worker.

    Attributes:
        worker_count: The number of batches that run side by side.
        worth_batching: Cameras that share a batch at most, unless configured; 0 is all of them.
        is_ready: Whether the models may run now; reported to ``health``.
        publish: Takes the results of one batch, in order.
        publish_losses: Takes the tracks that ended because their cameras were lost.
        gate: Closed between two batches, to change what they use.
    """

    pipeline: Pipeline
    frames: FrameQueue
    batching: Batching
    worker_count: int
    is_ready: Callable[[], bool]
    publish: Callable[[Sequence[FrameResult]], None]
    publish_losses: Callable[[Sequence[TrackLoss]], None]
    metrics: Metrics
    health: HealthBoard
    camera_count: int
    worth_batching: int = 0
    workers: list[Worker] = field(default_factory=list)
    timer: BatchTimer = field(default_factory=BatchTimer)
    gate: Gate = field(default_factory=Gate)
    _sweep_s: float = 0.0

    def start(self, group: WorkerGroup) -> None:
        """Start the workers."""
        self.health.models_loaded = self.is_ready()
        self.workers = [group.start(f"inference {n}", self._run) for n in range(self.worker_count)]

    def _run(self, worker: Worker) -> None:
        while not worker.stop.is_set():
            worker.mark_progress()
            self.health.models_loaded = self.is_ready()
            if not self.health.models_loaded:
                worker.stop.wait(0.1)
                continue
            with self.gate.enter():
                self._work(worker)

    def _work(self, worker: Worker) -> None:
        """Take the frames of one batch, if there are some, and look at them."""
        frames = self.frames.take(self._max_cameras(), self._max_delay_s(), 0.5, self._max_frames())
        worker.mark_progress()
        if frames:
            self._infer(frames)
            self.frames.done(frames)
        if (now_s := time.monotonic()) >= self._sweep_s:
            self._sweep_s = now_s + SWEEP_S
            self.end_silent_tracks()

    def end_silent_tracks(self) -> None:
        """End the tracks of cameras that have been silent for too long."""
        silent = self.frames.claim_silent(SWEEP_S)
        losses = [self.pipeline.expire(camera, silent_s) for camera, silent_s in silent]
        self.publish_losses([loss for loss in losses if loss])
        self.frames.release(camera for camera, _ in silent)

    def _infer(self, frames: Sequence[Frame]) -> None:
        started_s = time.perf_counter()
        results = self.pipeline.step(frames)
        took_s = time.perf_counter() - started_s
        if looked := sum(result.looked for result in results):
            self.timer.record(took_s, looked)
            self.metrics.stage.labels("look").observe(took_s)
            self.metrics.batch_size.observe(looked)
        self.publish(results)

    def _max_cameras(self) -> int:
        """As configured or each worker's share, but no more than are looked at in time."""
        per_worker = -(-self.camera_count // self.worker_count)
        most = self.batching.max_batch_size or self.worth_batching or per_worker
        in_time = int(MAX_BATCH_S / self.timer.frame_s) if self.timer.frame_s else 1
        return max(min(most, in_time), 1)

    def _max_frames(self) -> int:
        """More than one per camera only while a batch stays short."""
        quick = int(MAX_FILE_BATCH_S / self.timer.frame_s) if self.timer.frame_s else 1
        most = self._max_cameras()
        return min(self.batching.max_batch_size, most) or max(quick, most)

    def _max_delay_s(self) -> float:
        if self.worker_count > 1:  # a frame that comes later finds another worker free
            return 0.0
        configured_s = self.batching.max_queue_delay_ms / 1000
        return min(configured_s, MAX_DELAY_RATIO * self.timer.batch_s)
