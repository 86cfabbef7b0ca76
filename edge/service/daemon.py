"""The daemon: startup, main loop, shutdown. The only place that wires things together."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from uuid import uuid4

from edge import config, config_file, plugins
from edge.config import Config
from edge.errors import ConfigError, EdgeError, GpuLostError, WorkerError, locate
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.paths import model_path
from edge.pipeline import Pipeline
from edge.ports import Detector, EngineRuntime, FaceFinder, Model, Runtime, Sink, Source
from edge.service import systemd
from edge.service.backoff import Backoff
from edge.service.cameras import CONNECTING, CameraLoop
from edge.service.engines import EngineKeeper
from edge.service.frame_queue import FrameQueue
from edge.service.gallery_sync import GalleryFollower, follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer
from edge.service.metrics import Metrics
from edge.service.send_queue import SendQueue, try_open
from edge.service.workers import Worker
from edge.types import CameraState, CameraStatus, Frame, FrameResult
from edge.vision.thumbnail import JpegSampler
from edge.vision.tracker import track_ids
from edge.wire import topics
from edge.wire.message_builder import MessageBuilder
from edge.wire.schema import DetectionsMessage, Message

log = logging.getLogger(__name__)

STOPPED = "the daemon stopped"
STOP_S = 4.5  # everything must have ended by then
SILENCE_S = 10.0  # of a stage without a watchdog; with one a third of its time, if that is less
SWITCH_S = 0.0005  # a camera's thread must not wait 5 ms for another's turn to end
ENGINE_PATIENCE = 30  # compiling kernels for a card may take minutes in which nothing is heard
BATCH_S = 0.5  # a batch of several frames a camera should not take longer
PATIENCE_SHARE = 0.25  # of a batch's time: longer waiting costs more than it saves


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of a configuration, ready to run."""

    detector: Detector
    faces: FaceFinder | None
    embedder: ContractEmbedder | None = None
    liveness: ContractLiveness | None = None
    lanes: int = 1
    keeper: EngineKeeper | None = None

    @classmethod
    def of(cls, settings: Config, base: Path) -> ModelSet:
        """Load what the configuration names; paths are relative to ``base``.

        Raises:
            ConfigError: a model is missing, broken, untrusted or of the wrong task.
        """
        runtime: Runtime = plugins.create("runtimes", settings.runtime)
        keeper = None
        if isinstance(runtime, EngineRuntime):
            keeper = EngineKeeper(runtime, _all_cores(runtime.lanes))
        models = cls._of(settings, base, keeper or runtime)
        return replace(models, lanes=runtime.lanes, keeper=keeper)

    @classmethod
    def _of(cls, settings: Config, base: Path, runtime: Runtime) -> ModelSet:
        chosen = settings.models
        with locate(key="models.detector"):
            path = model_path(chosen.detector.path, base)
            detector = load_model("detect", runtime, path, chosen.detector.sha256)
        if chosen.faces is None:
            return cls(detector, None)
        with locate(key="models.faces"):
            path = model_path(chosen.faces.path, base)
            faces = load_model("faces", runtime, path, chosen.faces.sha256)
        known = settings.recognition
        if known is None:
            return cls(detector, faces)
        with locate(key="recognition.embedder"):
            path = model_path(known.embedder.path, base)
            embedder = load_model("embed", runtime, path, known.embedder.sha256)
        if known.liveness is None:
            return cls(detector, faces, embedder)
        with locate(key="recognition.liveness"):
            path = model_path(known.liveness.path, base)
            liveness = load_model("liveness", runtime, path, known.liveness.sha256)
        return cls(detector, faces, embedder, liveness)


def _all_cores(lanes: int) -> Runtime:
    """ONNX Runtime whose few lanes use all cores between them."""
    threads = max(len(os.sched_getaffinity(0)) // lanes, 1)
    table = {"kind": "onnx", "lanes": lanes, "threads": threads}
    runtime: Runtime = plugins.create("runtimes", table)
    return runtime


class Daemon:
    """One node: cameras, pipeline, sinks, metrics.

    Args:
        settings: the configuration.
        path: its file, read again on reload; model paths are relative to its folder.
        models: loaded models; None loads those of the configuration.
        on_result: called in the lanes' threads with every event; must be quick.
    """

    def __init__(
        self,
        settings: Config,
        path: Path | None = None,
        models: ModelSet | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
    ) -> None:
        self._settings = settings
        self._path = path
        self._on_event = on_result
        self._models = models
        self._rng = random.Random()  # noqa: S311 - jitter
        self._ending = threading.Event()
        self._reload = threading.Event()
        self._dead: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._slots = FrameQueue()
        self._epochs = itertools.count(int(time.time() * 1000))
        self._cameras: dict[str, tuple[config.Camera, Worker]] = {}
        self._send_queues: list[tuple[SendQueue, Worker]] = []
        self._samplers: dict[str, JpegSampler] = {}
        self._notifier = systemd.Notifier()
        self._silence_s = _silence_s(self._notifier.watchdog_s)
        self._step_s = self._frame_s = 0.0
        self._lanes: list[Worker] = []
        self._lane_count = 1
        self._pulse: Worker | None = None
        self._gallery: Worker | None = None
        self._engines: Worker | None = None
        self._keeper: EngineKeeper | None = None
        self.metrics = Metrics()
        self.health = HealthBoard([self.metrics.set_status, self._publish_status])

    # --- the three verbs ----------------------------------------------------------------------

    def run(self) -> None:
        """Start, run until told to stop, shut down.

        Raises:
            ConfigError: something in the configuration cannot be used.
            WorkerError: a thread died that must live.
        """
        try:
            self.startup()
            self.main_loop()
        finally:
            self.shutdown()

    def startup(self) -> None:
        """Load models, open sinks, then cameras, then say ready."""
        base = self._path.parent if self._path else Path()
        models = self._models or ModelSet.of(self._settings, base)
        self._composer = MessageBuilder(
            node=self._settings.node,
            boot=uuid4().hex,
            classes=models.detector.classes,
            model_name=models.detector.name,
            model_sha256=models.detector.sha256,
        )
        self._classes = models.detector.classes
        self._tell_models(models)
        ids = track_ids(time.time())
        follower = self._follower(models, base, ids)
        recognizer = follower.recognizer if follower else None
        self._pipeline = Pipeline(models.detector, models.faces, ids, recognizer)
        self._pipeline.watch(self._settings.cameras)
        sources = _sources_of(self._settings.cameras)
        self._http = HttpServer(self._settings.http, self.metrics, self.health)
        self._http.start()
        self._open_sinks()
        self._keeper = models.keeper
        self.health.models_loaded = self._may_look()
        self._lane_count = models.lanes
        self._lanes = [self._worker(f"lane {n}", self._look) for n in range(models.lanes)]
        self._pulse = self._worker("heartbeat", self._beat)
        self._gallery = self._worker("gallery", follower.run) if follower else None
        self._engines = self._keep_engines(models.keeper) if models.keeper else None
        for camera in self._settings.cameras:
            self._add_camera(camera, sources[camera.name])
        self.metrics.reload_successful.set(1)
        sys.setswitchinterval(SWITCH_S)
        gc.collect()
        gc.freeze()  # what lives from now to the end need not be searched for garbage
        log.info("ready: %d cameras, http port %d", len(self._cameras), self._http.port)
        self._notifier.send("READY=1")

    def main_loop(self) -> None:
        """Until stopped: feed the watchdog, reload when asked, give up when a worker died."""
        interval_s = min(self._notifier.watchdog_s / 3 or 1, 1)
        while not self._ending.wait(interval_s):
            if not self._dead.empty():
                dead = self._dead.get()
                if isinstance(dead.error, GpuLostError):
                    raise dead.error
                raise WorkerError(f"worker {dead.name} died: see the log above")
            if self._reload.is_set():
                self._reload.clear()
                self._apply_reload()
            stuck = [worker.name for worker in self._workers() if not worker.is_alive()]
            if not self._http.is_alive(self._silence_s):
                stuck.append("http")
            if stuck:
                log.error("no progress in %s: the watchdog is not fed", ", ".join(stuck))
            else:
                self._notifier.send("WATCHDOG=1")

    def shutdown(self) -> None:
        """Sources, slots, pipeline, send queues, sinks, in that order, in five seconds at most."""
        self._notifier.send("STOPPING=1")
        deadline_s = time.monotonic() + STOP_S
        cameras = [worker for _, worker in self._cameras.values()]
        lookers = [w for w in (*self._lanes, self._pulse, self._gallery, self._engines) if w]
        for worker in (*cameras, *lookers):
            worker.stop.set()
        for name in self._cameras:
            self.health.report(CameraStatus(name, 0, CameraState.OFFLINE, STOPPED, time.time()))
        _join(cameras, min(deadline_s, time.monotonic() + 1))
        self._slots.close()
        _join(lookers, min(deadline_s, time.monotonic() + 1))
        senders = [worker for _, worker in self._send_queues]
        for worker in senders:
            worker.stop.set()
        _join(senders, deadline_s)
        if hasattr(self, "_http"):
            self._http.stop()
        log.info("stopped")

    def stop(self) -> None:
        """Ask the main loop to end; safe from signal handlers and other threads."""
        self._ending.set()

    def reload(self) -> None:
        """Ask the main loop to read the configuration again."""
        self._reload.set()

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads. Only from the main thread."""

        def on_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.stop()

        def on_reload(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.reload()

        signal.signal(signal.SIGTERM, on_stop)
        signal.signal(signal.SIGINT, on_stop)
        signal.signal(signal.SIGHUP, on_reload)

    @property
    def http_port(self) -> int:
        """Where /metrics is served."""
        return self._http.port

    # --- threads ------------------------------------------------------------------------------

    def _worker(self, name: str, work: Callable[[Worker], None], patience: float = 1) -> Worker:
        silence_s = patience * self._silence_s
        worker = Worker(name, work, self._dead.put, silence_s)
        worker.start()
        return worker

    def _workers(self) -> list[Worker]:
        cameras = [worker for _, worker in self._cameras.values()]
        single = [worker for worker in (self._pulse, self._gallery, self._engines) if worker]
        sinks = [worker for _, worker in self._send_queues]
        return [*self._lanes, *single, *cameras, *sinks]

    def _look(self, worker: Worker) -> None:
        """A lane: takes frames, looks at them, publishes what it saw, again and again."""
        while not worker.stop.is_set():
            self.health.models_loaded = self._may_look()
            if not self.health.models_loaded:
                worker.pulse()
                worker.stop.wait(0.1)
                continue
            frames = self._slots.take(
                self._cameras_a_batch(), self._patience_s(), 0.5, self._frames_a_batch()
            )
            worker.pulse()
            if frames:
                self._look_at(frames)
                self._slots.done(frames)

    def _may_look(self) -> bool:
        """False while models wait for engines, without which they must not run."""
        return self._keeper is None or self._keeper.is_ready

    def _look_at(self, frames: Sequence[Frame]) -> None:
        started_s = time.perf_counter()
        events = self._pipeline.step(frames)
        took_s = time.perf_counter() - started_s
        self._step_s += 0.1 * (took_s - self._step_s)
        frame_s = took_s / len(frames)  # slower is believed at once: a batch must not take long
        self._frame_s = max(frame_s, self._frame_s + 0.1 * (frame_s - self._frame_s))
        self.metrics.stage.labels("look").observe(took_s)
        self.metrics.batch_size.observe(len(frames))
        self._publish([m for event in events for m in self._compose(event)])

    def _compose(self, event: FrameResult) -> list[Message]:
        self.metrics.count_event(event, self._classes)
        if self._on_event:
            self._on_event(event)
        sampler = self._samplers.get(event.frame.camera)
        jpeg = sampler.sample(event.frame) if sampler else None
        return self._composer.event(event, jpeg)

    def _beat(self, worker: Worker) -> None:
        """The heartbeat's thread."""
        while not worker.stop.wait(1):
            worker.pulse()
            self._publish([self._composer.heartbeat()])

    def _cameras_a_batch(self) -> int:
        share = -(-len(self._cameras) // self._lane_count)  # each lane gets its share
        return self._settings.batching.max_batch_size or max(share, 1)

    def _frames_a_batch(self) -> int:
        """More than one of a camera only while that takes no long time."""
        quick = int(BATCH_S / self._frame_s) if self._frame_s else 1
        return self._settings.batching.max_batch_size or max(quick, self._cameras_a_batch())

    def _patience_s(self) -> float:
        if self._lane_count > 1:  # who comes late finds another lane free
            return 0.0
        return min(self._settings.batching.max_queue_delay_ms / 1000, PATIENCE_SHARE * self._step_s)

    # --- messages -----------------------------------------------------------------------------

    def _publish(self, messages: Sequence[Message]) -> None:
        for send_queue, _ in self._send_queues:
            send_queue.put(messages)

    def _publish_status(self, status: CameraStatus) -> None:
        expected = status.state is CameraState.ONLINE or status.reason in (CONNECTING, STOPPED)
        level = logging.INFO if expected else logging.WARNING
        log.log(level, "%s: %s", status.state, status.reason, extra={"camera": status.camera})
        self._publish([self._composer.status(status)])

    def _sent(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = message.body
            self.metrics.messages_published.labels(topics.family(message.topic)).inc()
            if isinstance(body, DetectionsMessage):
                self.metrics.camera(body.camera).latency.observe(body.age_s)

    def _dropped(self, count: int, reason: str) -> None:
        self.metrics.messages_dropped.labels(reason).inc(count)

    # --- parts --------------------------------------------------------------------------------

    def _tell_models(self, models: ModelSet) -> None:
        loaded: dict[str, Model | None] = {
            "detect": models.detector,
            "faces": models.faces,
            "embed": models.embedder,
            "liveness": models.liveness,
        }
        for task, model in loaded.items():
            if model is not None:
                self.metrics.model_info.labels(task).info(
                    {"name": model.name, "sha256": model.sha256[:12]}
                )

    def _follower(self, models: ModelSet, base: Path, ids: Iterator[int]) -> GalleryFollower | None:
        """What recognises people, when the configuration asks for it."""
        known = self._settings.recognition
        if known is None:
            return None
        if models.embedder is None:
            raise ConfigError("the given models have no embedder", key="recognition")
        with locate(key="recognition.gallery"):
            return follow_gallery(
                known, base, models.embedder, models.liveness, ids, self.metrics.gallery_people.set
            )

    def _keep_engines(self, keeper: EngineKeeper) -> Worker:
        """Start what builds and loads engines."""
        metrics = self.metrics
        keeper.building = lambda task, took_s: metrics.engine_build.labels(task).set(took_s)
        keeper.using = lambda task, used: metrics.engine_in_use.labels(task).set(used)
        return self._worker("engines", keeper.run, patience=ENGINE_PATIENCE)

    def _open_sinks(self) -> None:
        """Start the sinks' threads; each must open once, or the configuration is wrong."""
        for row, table in enumerate(self._settings.sinks):
            name = f"sink {row} ({table['kind']})"
            sink: Sink = plugins.create("sinks", table)
            up = self.metrics.sink_up.labels(f"{row}-{table['kind']}")
            send_queue = SendQueue(
                name, sink, Backoff(self._rng), self._sent, self._dropped, up.set
            )
            try_open(sink, f"sinks[{row}]")
            self._send_queues.append((send_queue, self._worker(name, send_queue.run)))

    def _add_camera(self, camera: config.Camera, source: Source) -> None:
        if camera.jpeg_hz:
            self._samplers[camera.name] = JpegSampler(camera.jpeg_hz, camera.jpeg_max_px)
        loop = CameraLoop(
            camera,
            source,
            self._slots,
            self._epochs,
            self.metrics.camera(camera.name),
            self.health.report,
            Backoff(self._rng),
        )
        # a source may block as long as its own time-outs, so the watchdog is patient with it
        worker = self._worker(f"camera {camera.name}", loop.run, patience=6)
        self._cameras[camera.name] = (camera, worker)

    def _remove_camera(self, name: str) -> None:
        _, worker = self._cameras.pop(name)
        worker.stop.set()
        worker.join(1)
        self._slots.forget(name)
        self._samplers.pop(name, None)

    # --- reload -------------------------------------------------------------------------------

    def _apply_reload(self) -> None:
        """Read the file again; cameras that changed start anew, the others do not notice."""
        if self._path is None:
            return
        try:
            settings = config_file.load(self._path)
            sources = _sources_of(settings.cameras)
            old = {name: camera for name, (camera, _) in self._cameras.items()}
            new = {camera.name: camera for camera in settings.cameras}
            changed = frozenset(name for name in new if old.get(name) != new[name])
            self._pipeline.watch(settings.cameras, changed)
        except EdgeError as error:
            self.metrics.reload_successful.set(0)
            log.error("reload failed, the running configuration stays: %s", error)  # noqa: TRY400
            return
        for name in [name for name in old if name not in new or name in changed]:
            self._remove_camera(name)
            if name not in new:
                self.health.forget(name)
                self.metrics.forget_camera(name)
        for name in changed:
            self._add_camera(new[name], sources[name])
        for key in ("node", "models", "runtime", "recognition", "sinks", "http", "log"):
            if getattr(settings, key) != getattr(self._settings, key):
                log.warning("reload: %s changed, which takes effect at the next start", key)
        self._settings = settings
        self.metrics.reload_successful.set(1)
        log.info("reloaded: %d cameras", len(self._cameras))


def _silence_s(watchdog_s: float) -> float:
    """Longest silence of a healthy stage; the heartbeat alone is silent for a second."""
    return min(SILENCE_S, max(watchdog_s / 3, 1.5)) if watchdog_s else SILENCE_S


def _sources_of(cameras: Sequence[config.Camera]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for row, camera in enumerate(cameras):
        with locate(key=f"cameras[{row}].source"):
            sources[camera.name] = plugins.create("sources", camera.source)
    return sources


def _join(workers: Sequence[Worker], deadline_s: float) -> None:
    for worker in workers:
        if not worker.join(deadline_s - time.monotonic()):
            log.warning("%s did not end in time", worker.name)
