"""The benchmark: what the daemon costs, beside the floor that no program can go below.

The floor of a frame is decoding it plus the raw call of ONNX Runtime on it, on the same
files, the same model, the same threads, the same batch. Floor and daemon are measured in turn
in processes of their own, and ratios are taken within a turn, so that a machine whose speed
drifts does not matter.
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
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from edge import config_file, plugins
from edge.client import Received, Subscriber
from edge.errors import EdgeError
from edge.manifest import KEY, read_model
from edge.models.paths import model_path
from edge.ports import Session
from edge.service.daemon import Daemon
from edge.service.frame_queue import read_ahead
from edge.service.model_set import ModelSet
from edge.types import U8, Detections, Frame, FrameResult
from edge.vision import preprocess, resize
from edge.wire.schema import DetectionsMessage

CLIP_FPS = 30
CLOCK_DRIFT = 0.01
WARM_FRAMES = 10  # a camera, before anything is counted
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on the daemon.

    Attributes:
        clip: video every camera plays.
        cameras: how many.
        detector: path of the object model; empty is one that costs nothing and finds nothing.
        faces: path of the face model or empty.
        lanes: of ONNX Runtime, 0 is one a core.
        every_frame: play as fast as the frames are taken, once, losing none.
        fps: frames a second that each camera delivers otherwise.
        seconds: how long to measure then.
    """

    clip: str
    cameras: int
    detector: str
    faces: str
    lanes: int
    every_frame: bool
    fps: float = CLIP_FPS
    seconds: float = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured.

    Attributes:
        frames: processed and counted.
        wall_s: time they took.
        cpu_s: CPU time of the whole process meanwhile.
        peak_bytes: largest resident memory.
        per_camera: frames of each camera.
        ages_s: age of each message when it was published.
        batch_s: mean time of a batch in the pipeline.
    """

    frames: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    per_camera: tuple[int, ...] = ()
    ages_s: tuple[float, ...] = ()
    batch_s: float = 0.0

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.wall_s

    @property
    def cpu_per_frame_s(self) -> float:
        """CPU seconds a frame."""
        return self.cpu_s / self.frames

    def age_s(self, percent: float) -> float:
        """Percentile of the ages."""
        return float(np.percentile(self.ages_s, percent)) if self.ages_s else float("nan")

    @property
    def smallest_share(self) -> float:
        """Frames of the worst served camera over an equal share."""
        return min(self.per_camera) * len(self.per_camera) / max(sum(self.per_camera), 1)


def make_clip(folder: Path, size_wh: tuple[int, int], frames: int, video: str = "") -> Path:
    """Encode a test clip: H.264, ``CLIP_FPS``, a key frame a second.

    Args:
        folder: where to write it.
        size_wh: picture size.
        frames: how many.
        video: real video to scale, looped; empty pans over the photograph of the demo.
    """
    path = folder / f"{size_wh[1]}p.mp4"
    source = (
        {"kind": "video_file", "path": video, "every_frame": True, "loop": True}
        if video
        else {"kind": "synthetic", "size_wh": size_wh, "fps": 1000, "noise": 0}
    )
    stop = threading.Event()
    with (
        av.open(str(path), "w") as container,
        plugins.create("sources", source).connect(stop) as captures,
    ):
        stream = container.add_stream("libx264", rate=CLIP_FPS)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(CLIP_FPS)}
        for _, capture in zip(range(frames), captures, strict=False):
            image = resize.resize_to_rgb(capture.picture, size_wh)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


# --- the floor --------------------------------------------------------------------------------


def measure_floor(load: Load) -> Cost:
    """Decoding alone plus the raw model calls alone, for every frame of every camera."""
    return _in_child(_floor, load)


def _floor(load: Load) -> Cost:
    decode_cpu_s, decode_wall_s, frames = _decode_all(load.clip)
    cpu_s, wall_s = decode_cpu_s / frames, decode_wall_s / frames
    for path in filter(None, (load.detector, load.faces)):
        session, size, pictures = _raw(load, path)
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


def _raw(load: Load, path: str) -> tuple[Session, int, U8]:
    """A model, its batch, and every frame as it takes them: what is found costs time too."""
    file = model_path(path, Path())
    runtime = plugins.create("runtimes", {"kind": "onnx", "lanes": load.lanes})
    session = runtime.load(read_model(file), str(file))
    width, height = json.loads(session.metadata[KEY])["input_wh"]
    pictures = []
    source = {"kind": "video_file", "path": load.clip, "every_frame": True}
    with plugins.create("sources", source).connect(threading.Event()) as captures:
        for capture in captures:
            pictures.append(np.empty((height, width, 3), np.uint8))
            preprocess.letterbox(capture.picture, pictures[-1])
    cameras = -(-load.cameras // runtime.lanes)
    frames = read_ahead(capture.picture.size_wh, load.cameras) if load.every_frame else 1
    return session, cameras * frames, np.stack(pictures)


# --- the daemon -------------------------------------------------------------------------------


class Nothing:
    """A detector that costs nothing and finds nothing."""

    name = "nothing"
    sha256 = "0" * 64
    classes = ("person",)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """No objects."""
        return [Detections.empty() for _ in frames]


def measure_daemon(load: Load) -> Cost:
    """The whole daemon with a subscriber in another process."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/bus"
        ages: list[tuple[str, float]] = []
        heard = threading.Event()
        listener = threading.Thread(target=_listen, args=(endpoint, ages, heard), daemon=True)
        listener.start()
        cost = _in_child(_daemon, load, endpoint)
        heard.set()
        listener.join(5)
    skip = WARM_FRAMES * load.cameras
    return replace(cost, ages_s=tuple(age for _, age in ages[skip:]))


def _listen(endpoint: str, ages: list[tuple[str, float]], heard: threading.Event) -> None:
    with Subscriber(endpoint, topics=("v1/detections/",)) as subscriber:
        while not heard.is_set():
            item = subscriber.receive(0.2)
            if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
                ages.append((item.body.camera, item.body.age_s))


def _daemon(load: Load, endpoint: str) -> Cost:
    tree: dict[str, Any] = {
        "models": {"detector": load.detector or "none"},
        "runtime": {"kind": "onnx", "lanes": load.lanes},
        "cameras": [
            {"name": f"camera-{n}", "source": source, "fps": CLIP_FPS, "frozen_after_s": 0}
            for n, source in enumerate(_sources(load))
        ],
        "sinks": [{"kind": "zeromq", "bind": endpoint}],
        "http": {"port": 0},
        "log": {"level": "error"},
    }
    if load.faces:
        tree["models"]["faces"] = load.faces
    settings = config_file.parse(tree, "bench")
    models = None if load.detector else ModelSet(Nothing(), None)
    meter = _Meter(load)
    daemon = Daemon(settings, models=models, on_result=meter.count)
    watcher = threading.Thread(target=meter.watch, args=(daemon,), daemon=True)
    watcher.start()
    daemon.run()
    watcher.join()
    return meter.cost()


def _sources(load: Load) -> Iterator[dict[str, Any]]:
    """The clip as each camera plays it.

    Clocks of cameras differ, here by a percent: so whether their frames come all at once or well
    apart is not settled by how they started, and every case is measured.
    """
    for n in range(load.cameras):
        drift = 1 + CLOCK_DRIFT * (n - (load.cameras - 1) / 2)
        how = {"loop": True, "speed": drift * load.fps / CLIP_FPS}
        yield {
            "kind": "video_file",
            "path": load.clip,
            **({"every_frame": True} if load.every_frame else how),
        }


class _Meter:
    """Counts frames and reads the clocks once the daemon is warm and when it is done."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._marks: list[tuple[float, float, Counter[str]]] = []
        self._batch_s = 0.0
        self._last = (0.0, 0.0)

    def count(self, event: FrameResult) -> None:
        """One processed frame."""
        with self._lock:  # lanes count side by side
            self._seen[event.frame.camera] += 1
            self._last = (time.perf_counter(), time.process_time())
            if not self._marks and self._is_warm():
                self._mark()

    def watch(self, daemon: Daemon) -> None:
        """Stop the daemon when the measurement is over."""
        deadline_s = time.monotonic() + START_S
        while not self._marks and time.monotonic() < deadline_s:
            time.sleep(0.01)
        if self._load.every_frame:
            while any(s.state == "online" for s in daemon.health.states()):
                time.sleep(0.1)  # rarely: looking is paid for in the daemon's process
            self._marks.append((*self._last, self._seen.copy()))
        else:
            time.sleep(self._load.seconds)
            self._mark()
        stage = daemon.metrics.registry.get_sample_value
        name, labels = "edge_stage_duration_seconds", {"stage": "look"}
        batches = stage(f"{name}_count", labels) or 1
        self._batch_s = (stage(f"{name}_sum", labels) or 0) / batches
        daemon.stop()

    def cost(self) -> Cost:
        """Between the two marks."""
        (wall_0, cpu_0, seen_0), (wall_1, cpu_1, seen_1) = self._marks
        per_camera = tuple((seen_1 - seen_0).values())
        return Cost(
            sum(per_camera),
            wall_1 - wall_0,
            cpu_1 - cpu_0,
            _peak_bytes(),
            per_camera,
            batch_s=self._batch_s,
        )

    def _is_warm(self) -> bool:
        seen = self._seen.values()
        return len(seen) == self._load.cameras and min(seen) >= WARM_FRAMES

    def _mark(self) -> None:
        self._marks.append((time.perf_counter(), time.process_time(), self._seen.copy()))


# --- processes --------------------------------------------------------------------------------

T = TypeVar("T")


def _peak_bytes() -> int:
    """Largest resident memory; getrusage would tell that of the process that started us too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_child(work: Callable[..., T], *args: object) -> T:
    """Run ``work`` in a fresh process and give back what it returns."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(there, work, *args))
    child.start()
    there.close()
    try:
        result: T | str = here.recv()
    except EOFError as error:
        raise EdgeError("a measurement died: see its message above") from error
    finally:
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
    """Median of the ratios pair by pair."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
