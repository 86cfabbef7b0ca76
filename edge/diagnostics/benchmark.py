"""The benchmark: what the daemon costs, compared with a baseline that no program can beat.

The baseline of a frame is decoding it plus the bare call of ONNX Runtime on it, with the same
files, model, threads and batch size. Baseline and daemon are measured alternately, each in its own
process, and ratios are taken within a round, so that drifts of the machine's speed cancel out.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from edge import config_file, plugins
from edge.client import Received, Subscriber
from edge.diagnostics.clips import CLIP_FPS
from edge.errors import EdgeError
from edge.interrupt import held_interrupt
from edge.manifest import KEY, read_model
from edge.models.paths import resolve_model
from edge.ports import Session
from edge.service.daemon import Daemon
from edge.service.frame_queue import compute_read_ahead
from edge.service.log_format import set_up_logging
from edge.service.model_set import ModelSet
from edge.types import U8, Detections, Frame, FrameResult
from edge.vision import preprocess
from edge.wire.schema import DetectionsMessage

CLOCK_DRIFT = 0.01
MAX_CLOCK_DRIFT = 0.02  # of the first and the last camera
WARMUP_FRAMES = 10  # per camera, before anything is counted
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """The load on the daemon.

    Attributes:
        clips: The videos that the cameras play in turn.
        detector: The object detector; empty uses one that costs nothing and detects nothing.
        faces: The face detector, or empty.
        workers: Inference workers of ONNX Runtime; 0 is one per core.
        every_frame: Play once, as fast as frames are taken, without dropping any.
        fps: Frames per second of each camera otherwise.
        look_fps: Frames per second of each camera that are published; the others are only decoded.
        seconds: How long to measure then.
        gate: Whether live cameras have their motion gate.
    """

    clips: tuple[str, ...]
    cameras: int
    detector: str
    faces: str
    workers: int
    every_frame: bool
    fps: float = CLIP_FPS
    look_fps: float = CLIP_FPS
    seconds: float = 8
    gate: bool = True


@dataclass(frozen=True, slots=True)
class Cost:
    """The result of a measurement.

    Attributes:
        frames: Frames that were published.
        wall_s: How long they took.
        cpu_s: CPU time of the whole process meanwhile.
        per_camera: Frames of each camera.
        ages_s: Age of each message at publication.
        batch_s: Mean duration of a batch.
        looks: Frames that a network looked at.
    """

    frames: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    per_camera: tuple[int, ...] = ()
    ages_s: tuple[float, ...] = ()
    batch_s: float = 0.0
    looks: int = 0

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.wall_s

    @property
    def cpu_per_frame_s(self) -> float:
        """CPU seconds per frame."""
        return self.cpu_s / self.frames

    def age_s(self, percent: float) -> float:
        """A percentile of the ages, in seconds."""
        return float(np.percentile(self.ages_s, percent)) if self.ages_s else float("nan")

    @property
    def fairness(self) -> float:
        """Frames of the slowest camera relative to an equal share."""
        return min(self.per_camera) * len(self.per_camera) / max(sum(self.per_camera), 1)


# --- the baseline -----------------------------------------------------------------------------


def measure_baseline(load: Load) -> Cost:
    """Measure decoding alone plus the bare model calls alone, for every frame."""
    return _run_in_child(_run_baseline, load)


def _run_baseline(load: Load) -> Cost:
    decoded = [_decode_all(clip) for clip in load.clips]
    frames = min(count for _, _, count in decoded)
    cpu_s = statistics.mean(cpu_s / count for cpu_s, _, count in decoded)
    wall_s = statistics.mean(wall_s / count for _, wall_s, count in decoded)
    for path in filter(None, (load.detector, load.faces)):
        session, size, pictures = _prepare_model(load, path)
        batches = [pictures[n : n + size] for n in range(0, frames, size)]
        for batch in batches[:3]:
            session.infer(batch)
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        for batch in batches:
            session.infer(batch)
        wall_s += (time.perf_counter() - started_s) / frames
        cpu_s += (time.process_time() - started_cpu_s) / frames
    return Cost(1, wall_s, cpu_s, _peak_bytes())


def _decode_all(clip: str) -> tuple[float, float, int]:
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = 0
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        for _ in container.decode(stream):
            frames += 1
        return time.process_time() - started_cpu_s, time.perf_counter() - started_s, frames


def _prepare_model(load: Load, path: str) -> tuple[Session, int, U8]:
    """A model, its batch size and its input for every frame."""
    file = resolve_model(path, Path())
    runtime = plugins.create("runtimes", {"kind": "onnx", "workers": load.workers})
    session = runtime.load(read_model(file), str(file))
    width, height = json.loads(session.metadata[KEY])["input_wh"]
    pictures = []
    source = {"kind": "video_file", "path": load.clips[0], "every_frame": True}
    with plugins.create("sources", source).connect(threading.Event()) as captures:
        for capture in captures:
            pictures.append(np.empty((height, width, 3), np.uint8))
            preprocess.letterbox(capture.picture, pictures[-1])
    cameras = runtime.max_batch_size or -(-load.cameras // runtime.workers)
    frames = compute_read_ahead(capture.picture.size_wh, load.cameras) if load.every_frame else 1
    return session, cameras * frames, np.stack(pictures)


# --- the daemon -------------------------------------------------------------------------------


class NullDetector:
    """A detector that costs nothing and detects nothing."""

    name = "nothing"
    sha256 = "0" * 64
    classes = ("person",)
    input_wh = (416, 416)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return no objects."""
        return [Detections.empty() for _ in frames]


def measure_daemon(load: Load) -> Cost:
    """Measure the whole daemon, with a subscriber in another process."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/bus"
        ages: list[tuple[str, float]] = []
        ended = threading.Event()
        listener = threading.Thread(target=_listen, args=(endpoint, ages, ended), daemon=True)
        listener.start()
        cost = _run_in_child(_run_daemon, load, endpoint)
        ended.set()
        listener.join(5)
    skip = WARMUP_FRAMES * load.cameras
    return replace(cost, ages_s=tuple(age for _, age in ages[skip:]))


def _listen(endpoint: str, ages: list[tuple[str, float]], ended: threading.Event) -> None:
    with Subscriber(endpoint, topics=("v1/detections/",)) as subscriber:
        while not ended.is_set():
            item = subscriber.receive(0.2)
            if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
                ages.append((item.body.camera, item.body.age_s))


def _run_daemon(load: Load, endpoint: str) -> Cost:
    gate = {} if load.every_frame else {"motion": {"enabled": load.gate}}
    tree: dict[str, Any] = {
        "models": {"detector": load.detector or "none"},
        "runtime": {"kind": "onnx", "workers": load.workers},
        "cameras": [
            {
                "name": f"camera-{n}",
                "source": source,
                "fps": load.look_fps * CLIP_FPS / load.fps,  # a clip's time is its own
                "frozen_after_s": 0,
                **gate,
            }
            for n, source in enumerate(_create_sources(load))
        ],
        "sinks": [{"kind": "zeromq", "bind": endpoint}],
        "http": {"port": 0},
        "log": {"level": "error"},
    }
    if load.faces:
        tree["models"]["faces"] = load.faces
    settings = config_file.parse(tree, "bench")
    set_up_logging(settings.log)
    models = None if load.detector else ModelSet(NullDetector(), None)
    meter = _Meter(load)
    daemon = Daemon(settings, models=models, on_result=meter.count)
    watcher = threading.Thread(target=meter.watch, args=(daemon,), daemon=True)
    watcher.start()
    daemon.run()
    watcher.join()
    return meter.cost()


def _create_sources(load: Load) -> Iterator[dict[str, Any]]:
    """The clip as each camera plays it.

    The cameras' clocks differ by a percent, those of many by less. So all phases between their
    frames occur, and the result does not depend on how they happened to start.
    """
    step = min(CLOCK_DRIFT, 2 * MAX_CLOCK_DRIFT / max(load.cameras - 1, 1))
    for n in range(load.cameras):
        drift = 1 + step * (n - (load.cameras - 1) / 2)
        how = {"loop": True, "speed": drift * load.fps / CLIP_FPS}
        yield {
            "kind": "video_file",
            "path": load.clips[n % len(load.clips)],
            **({"every_frame": True} if load.every_frame else how),
        }


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the clocks and counters said at one moment."""

    wall_s: float
    cpu_s: float
    looks: int
    counts: Counter[str]


class _Meter:
    """Counts frames; reads the clocks after the warm-up and at the end."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._looks = 0
        self._marks: list[_Mark] = []
        self._batch_s = 0.0
        self._last = (0.0, 0.0)

    def count(self, result: FrameResult) -> None:
        """Count a processed frame."""
        with self._lock:  # called by several workers
            self._counts[result.frame.camera] += 1
            self._looks += result.looked
            self._last = (time.perf_counter(), time.process_time())
            if not self._marks and self._is_warm():
                self._mark()

    def watch(self, daemon: Daemon) -> None:
        """Stop the daemon when the measurement is over."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._marks and time.monotonic() < deadline_s:
            time.sleep(0.01)
        if not self._marks:  # cameras starve: measured all the same
            self._mark()
        if self._load.every_frame:
            while any(s.state == "online" for s in daemon.health.states()):
                time.sleep(0.1)  # rarely, since it costs CPU time of the daemon's process
            self._marks.append(_Mark(*self._last, self._looks, self._counts.copy()))
        else:
            time.sleep(self._load.seconds)
            self._mark()
        stage = daemon.metrics.registry.get_sample_value
        name, labels = "edge_stage_duration_seconds", {"stage": "look"}
        batches = stage(f"{name}_count", labels) or 1
        self._batch_s = (stage(f"{name}_sum", labels) or 0) / batches
        daemon.stop()

    def cost(self) -> Cost:
        """The cost between the two marks."""
        begin, end = self._marks[0], self._marks[-1]
        per_camera = tuple(count - begin.counts[camera] for camera, count in end.counts.items())
        wall_s, cpu_s, looks = (
            end.wall_s - begin.wall_s,
            end.cpu_s - begin.cpu_s,
            end.looks - begin.looks,
        )
        return Cost(
            sum(per_camera),
            wall_s,
            cpu_s,
            _peak_bytes(),
            per_camera,
            batch_s=self._batch_s,
            looks=looks,
        )

    def _is_warm(self) -> bool:
        counts = self._counts.values()
        return len(counts) == self._load.cameras and min(counts) >= WARMUP_FRAMES

    def _mark(self) -> None:
        clocks = (time.perf_counter(), time.process_time())
        self._marks.append(_Mark(*clocks, self._looks, self._counts.copy()))


# --- processes --------------------------------------------------------------------------------

T = TypeVar("T")


def _peak_bytes() -> int:
    """Peak resident memory; getrusage would include that of the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _run_in_child(work: Callable[..., T], *args: object) -> T:
    """Run ``work`` in a new process and return its result."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(there, work, *args))
    ensure_running()  # of Python's own child, whose start lets signals through again
    try:
        with held_interrupt():
            child.start()
        there.close()
        result: T | str = here.recv()
    except EOFError as error:
        raise EdgeError("a measurement process died: see its message above") from error
    except KeyboardInterrupt:
        if child.pid:
            child.kill()
        raise
    finally:
        if child.pid:
            child.join()
    if isinstance(result, str):
        raise EdgeError(f"a measurement failed: {result}")
    return result


def _report(pipe: Connection, work: Callable[..., Any], *args: object) -> None:
    try:
        pipe.send(work(*args))
    except EdgeError as error:
        pipe.send(str(error))


def median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of pairwise ratios."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
