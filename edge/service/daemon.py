"""The daemon: startup, main loop, shutdown. The only place that wires things together."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from uuid import uuid4

from edge import config_file
from edge.config import Camera, Config
from edge.config_file import locate_in
from edge.errors import ConfigError, EdgeError, locate
from edge.event import Event, EventChange
from edge.events.obstacle import list_obstacles
from edge.models.output_check import OutputCheck
from edge.pipeline import Pipeline
from edge.service import systemd
from edge.service.archivist import Archivist
from edge.service.camera_pool import (
    CameraPool,
    CameraSources,
    complete_source,
    create_sources,
)
from edge.service.cameras import END_OF_RECORDING
from edge.service.engines import EngineManager
from edge.service.event_desk import EventDesk
from edge.service.frame_queue import FrameQueue
from edge.service.gallery_people import GalleryPeople
from edge.service.gallery_sync import GalleryFollower, follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer
from edge.service.inference import InferencePool
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.service.node_view import NodeView
from edge.service.publisher import Publisher
from edge.service.workers import Worker, WorkerGroup, stop_all
from edge.types import CameraState, CameraStatus, FrameResult, StatusReason, TrackLoss
from edge.vision.tracker import make_track_ids
from edge.web.app import create_page
from edge.web.ports import Archive, People
from edge.wire.message_builder import MessageBuilder

log = logging.getLogger(__name__)

STOPPED = "the daemon stopped"
STOP_S = 4.5  # everything must have ended by then
MAX_SILENCE_S = 10.0  # of a stage; with a watchdog a third of its time, if that is less
MAX_HANG_S = 1.0  # what hangs must not hold up a stop or a reload for longer
SWITCH_INTERVAL_S = 0.0005  # a camera's thread must not wait 5 ms for another's turn to end
ENGINE_PATIENCE = 30  # compiling kernels for a GPU may take minutes without a sign of progress
EXPECTED = (StatusReason.CONNECTING, StatusReason.STOPPED)  # no reason to warn
NOT_RELOADED = ("node", "models", "runtime", "recognition", "sinks", "storage", "http", "log")


class Daemon:
    """One node: cameras, pipeline, sinks, metrics.

    Args:
        path: Its file, read again on reload; model paths are relative to its folder.
        models: Loaded models; None loads those of the configuration.
        on_result: Called in the inference threads with every result; must be quick.
    """

    def __init__(
        self,
        settings: Config,
        path: Path | None = None,
        models: ModelSet | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.health = HealthBoard([self.metrics.set_status, self._publish_status])
        self._settings = settings
        self._path = path
        self._models = models
        self._on_result = on_result
        self._ending = threading.Event()
        self._stop_asked_s = float("inf")
        self._interruptible = False  # whether a signal may end what nothing depends on yet
        self._reload = threading.Event()
        self._notifier = systemd.Notifier()
        self._silence_s = _choose_silence_s(self._notifier.watchdog_s)
        self._group = WorkerGroup(self._silence_s)
        self._frames = FrameQueue()
        self._cameras = CameraPool(self._frames, self.metrics, self.health.report)
        self._publisher = Publisher(self.metrics, self.health.report_sink)
        self._desk: EventDesk | None = None
        self._archivist: Archivist | None = None
        self._view: NodeView | None = None
        self._keepers = WorkerGroup(MAX_SILENCE_S)  # a disk that hangs is not the daemon's death
        self._helpers: list[Worker] = []  # heartbeat, gallery, engines
        self._builder: MessageBuilder | None = None
        self._pipeline: Pipeline | None = None
        self._inference: InferencePool | None = None
        self._http: HttpServer | None = None

    # --- the three verbs ----------------------------------------------------------------------

    def run(self) -> None:
        """Start, run until stopped, shut down.

        Raises:
            EdgeError: Something in the configuration cannot be used.
            WorkerError: A thread died that must live.
        """
        try:
            self._interruptible = not self._ending.is_set()
            if self._interruptible:
                self.startup()
            self._interruptible = False
            self.main_loop()
        finally:
            self._interruptible = False
            self.shutdown()

    def startup(self) -> None:
        """Load models, start HTTP, sinks, inference and cameras, then report ready."""
        settings, group = self._settings, self._group
        base = self._path.parent if self._path else Path()
        models = self._models or ModelSet.load(settings, base)
        self._describe_models(models)
        detector = models.detector
        self._builder = builder = MessageBuilder(
            settings.node, uuid4().hex, detector.classes, detector.name, detector.sha256
        )
        self._archivist = archivist = Archivist(
            settings.storage, base, detector.classes, self._publish_event,
            self._report_storage, self.metrics.set_stored,
        )  # fmt: skip
        self._desk = EventDesk(detector.classes, archivist.put)
        ids = make_track_ids(time.time())
        follower = self._create_follower(models, base, ids)
        recognizer = follower.recognizer if follower else None
        self._pipeline = Pipeline(detector, models.faces, ids, recognizer)
        self._pipeline.watch(settings.cameras)
        sources = create_sources(settings.cameras)
        self._desk.watch(settings.cameras)
        self._view = view = NodeView(
            settings.node, self._cameras, self.health, archivist, detector.classes
        )
        node = view.describe(
            self._make_people_desk(models, base), self._path, self.reload, self._list_waiting
        )
        page = create_page(settings.http, base, node)
        self._http = HttpServer(settings.http, self.metrics, self.health, page)
        self._http.start()
        self._publisher.start(settings.sinks)
        self._inference = InferencePool(
            self._pipeline,
            self._frames,
            settings.batching,
            models.workers,
            lambda: models.manager is None or models.manager.is_ready,
            lambda results: self._publish_results(results, builder, detector.classes),
            self._publish_losses,
            self.metrics,
            self.health,
            len(settings.cameras),
            models.max_batch_size,
        )
        self._inference.start(group)
        self._helpers.append(group.start("heartbeat", self._send_heartbeats))
        if follower:
            self._helpers.append(group.start("gallery", follower.run))
        if models.manager:
            self._helpers.append(self._start_engines(models.manager))
        for camera in settings.cameras:
            streams = sources[camera.name]
            self._cameras.add(camera, streams.source, streams.main)
        archivist.cameras = self._cameras.recorded
        self._pipeline.enlargers = self._cameras.make_enlargers({})
        if settings.storage:
            self._keepers.start("storage", archivist.run)
        self.metrics.reload_successful.set(1)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # what lives from now to the end need not be searched for garbage
        count, port = len(self._cameras), self._http.port
        where = f"http port {port}" if port else "no HTTP yet"
        log.info("ready: %d camera%s, %s", count, "" if count == 1 else "s", where)
        _warn_of_obstacles(self._settings)
        self._notifier.send("READY=1")

    def main_loop(self) -> None:
        """Until stopped: feed the watchdog, reload when asked, give up when a worker died."""
        interval_s = min(self._notifier.watchdog_s / 3 or 1, 1)
        while not self._ending.wait(interval_s):
            self._group.raise_death()
            self._cameras.check()
            self._keepers.raise_death()
            if self._desk:
                self._desk.tick()
            if self._reload.is_set():
                self._reload.clear()
                self._apply_reload()
            stuck = self._group.find_stuck()
            if self._http and not self._http.is_alive(self._silence_s):
                stuck.append("http")
            self.health.stuck = [*stuck, *self._publisher.check()]
            self.metrics.set_stuck(self.health.stuck)
            self.health.silent_cameras = self._cameras.find_silent(self._silence_s)
            if stuck:
                log.error("no progress in %s: the watchdog is not fed", ", ".join(stuck))
            else:
                self._notifier.send("WATCHDOG=1")

    def shutdown(self) -> None:
        """Cameras, frame queue, inference, send queues, sinks, in five seconds at most."""
        self._notifier.send("STOPPING=1")
        deadline_s = min(self._stop_asked_s, time.monotonic()) + STOP_S
        inferring = [*(self._inference.workers if self._inference else ()), *self._helpers]
        for worker in (*self._cameras.workers, *inferring):
            worker.stop.set()
        for name in self._cameras.configured:
            code = StatusReason.STOPPED
            self.health.report(
                CameraStatus(name, 0, CameraState.OFFLINE, STOPPED, code, time.time())
            )
        self._frames.close()
        stop_all([*self._cameras.workers, *inferring], time.monotonic() + MAX_HANG_S)
        self._end_tracks(list(self._cameras.configured), MAX_HANG_S)
        if self._desk:
            self._desk.close()
        stop_all(self._keepers.workers, time.monotonic() + MAX_HANG_S)
        if self._builder:  # it tells what was sent last, so that it can be missed
            self._publisher.publish([self._builder.build_heartbeat()])
        stop_all(self._publisher.workers, deadline_s)
        if self._http:
            self._http.stop(deadline_s)
        log.info("stopped")

    def stop(self) -> None:
        """Ask the main loop to end; safe from signal handlers and other threads."""
        self._stop_asked_s = min(self._stop_asked_s, time.monotonic())
        self._ending.set()

    def reload(self) -> None:
        """Ask the main loop to read the configuration again."""
        self._reload.set()

    def _handle_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; neither loading models nor reading a configuration is waited for."""
        self.stop()
        if self._interruptible:
            self._interruptible = False
            raise SystemExit(0)

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads. Only from the main thread."""
        signal.signal(signal.SIGTERM, self._handle_stop)
        signal.signal(signal.SIGINT, self._handle_stop)
        signal.signal(signal.SIGHUP, lambda *_: self.reload())

    @property
    def http_port(self) -> int:
        """The port of /metrics; 0 before startup."""
        return self._http.port if self._http else 0

    # --- what flows between the parts ---------------------------------------------------------

    def _publish_results(
        self, results: Sequence[FrameResult], builder: MessageBuilder, classes: Sequence[str]
    ) -> None:
        messages = []
        for result in results:
            self.metrics.count_result(result, classes)
            self._cameras.note(result)
            if self._desk and self._view:
                self._desk.note(result)
                self._view.note(result)
            if self._on_result:
                self._on_result(result)
            messages += builder.build(result, self._cameras.sample_jpeg(result.frame))
        self._publisher.publish(messages)

    def _report_storage(self, problem: str) -> None:
        self.metrics.storage_up.set(0 if problem else 1)
        self.health.report_storage(problem)

    def _publish_event(
        self, event: Event, change: EventChange, *, snapshot: bool, clip: bool
    ) -> None:
        if change is EventChange.BEGUN:
            self.metrics.events.labels(event.camera, str(event.severity)).inc()
        if self._builder and self._view:
            message = self._builder.build_event(event, change, snapshot=snapshot, clip=clip)
            self._publisher.publish([message])
            self._view.note_event(event, change, snapshot=snapshot, clip=clip)

    def _publish_losses(self, losses: Sequence[TrackLoss]) -> None:
        for loss in losses:
            if self._desk:
                self._desk.note_loss(loss)
        if self._builder:
            self._publisher.publish([m for loss in losses for m in self._builder.build_loss(loss)])

    def _end_tracks(self, cameras: Sequence[str], timeout_s: float) -> None:
        """End the tracks of cameras that will give no more frames, unless inference hangs."""
        deadline_s = time.monotonic() + timeout_s
        for camera in cameras:
            rest_s = max(deadline_s - time.monotonic(), 0)
            if self._pipeline and self._frames.claim(camera, rest_s):
                loss = self._pipeline.expire(camera)
                self._publish_losses([loss] if loss else [])
                self._frames.release([camera])

    def _publish_status(self, status: CameraStatus) -> None:
        expected = (
            status.state is CameraState.ONLINE
            or status.reason_code in EXPECTED
            or status.reason == END_OF_RECORDING
        )
        level = logging.INFO if expected else logging.WARNING
        log.log(level, "%s: %s", status.state, status.reason, extra={"camera": status.camera})
        if self._builder:
            self._publisher.publish([self._builder.build_status(status)])
        if self._desk and self._view:
            self._desk.note_status(status)
            self._view.changes.add_status(status)

    def _send_heartbeats(self, worker: Worker) -> None:
        while not worker.stop.wait(1):
            worker.mark_progress()
            if self._builder:
                self._publisher.publish([self._builder.build_heartbeat()])

    # --- parts --------------------------------------------------------------------------------

    def _describe_models(self, models: ModelSet) -> None:
        for task, model in models.by_task().items():
            about = {"name": model.name, "sha256": model.sha256[:12]}
            self.metrics.model_info.labels(task).info(about)
        for task, check in models.checks().items():
            self._watch_model(task, check)

    def _watch_model(self, task: str, check: OutputCheck) -> None:
        """Count implausible rows of a model; the node is not ready while it is broken."""
        refused, up = self.metrics.model_rows_refused, self.metrics.model_up.labels(task)

        def report(problem: str) -> None:
            up.set(0 if problem else 1)
            self.health.report_model(task, problem)

        check.on_refused = lambda reason, count: refused.labels(task, reason).inc(count)
        check.on_change = report
        report(check.problem)

    def _create_follower(
        self, models: ModelSet, base: Path, ids: Iterator[int]
    ) -> GalleryFollower | None:
        """The recognizer and its follower, if the configuration asks for them."""
        recognition = self._settings.recognition
        if recognition is None:
            return None
        if models.embedder is None:
            raise ConfigError("the given models have no embedder", key="recognition")
        count = self.metrics.gallery_people.set
        with locate(key="recognition.gallery"):
            return follow_gallery(
                recognition, base, models.embedder, models.liveness, ids, count,
                self.health.report_gallery, finder=models.faces,
                retain=self._retain_people,
            )  # fmt: skip

    def _retain_people(self, people: frozenset[str]) -> None:
        """Name only these in events: first in those that go on, then in those that are kept."""
        if self._desk and self._archivist:
            self._desk.retain_people(people)
            self._archivist.retain_people(people)

    def _make_people_desk(
        self, models: ModelSet, base: Path
    ) -> Callable[[Archive | None], People] | None:
        """What makes the desk that changes the gallery, if there is one."""
        recognition, finder, embedder = self._settings.recognition, models.faces, models.embedder
        if recognition is None or finder is None or embedder is None:
            return None
        return lambda archive: GalleryPeople(recognition, base, finder, embedder, archive)

    def _start_engines(self, manager: EngineManager) -> Worker:
        """Start the worker that builds and loads engines."""
        metrics = self.metrics
        manager.building = lambda task, took_s: metrics.engine_build.labels(task).set(took_s)
        manager.using = lambda task, used: metrics.engine_in_use.labels(task).set(used)
        return self._group.start("engines", manager.run, ENGINE_PATIENCE)

    # --- reload -------------------------------------------------------------------------------

    def _apply_reload(self) -> None:
        """Read the file again; only cameras whose source changed start anew."""
        if self._path is None or self._pipeline is None or self._inference is None:
            return
        try:
            self._interruptible = not self._ending.is_set()
            with locate_in(self._path):
                tree, text = config_file.read(self._path)
                settings = config_file.parse(tree, self._path, text)
                config_file.check_labels(tree, self._pipeline.classes, self._path, text)
                sources = create_sources(settings.cameras)
        except EdgeError as error:
            self.metrics.reload_successful.set(0)
            log.error("reload failed, the running configuration stays: %s", error)  # noqa: TRY400
            return
        finally:
            self._interruptible = False
        if self._ending.is_set():
            return
        self._watch(settings.cameras, sources)
        self._inference.batching = settings.batching
        self._inference.camera_count = len(settings.cameras)
        waiting = self._list_waiting(settings)
        self.metrics.reload_successful.set(0 if waiting else 1)
        count = len(self._cameras)
        log.info("reloaded: %d camera%s", count, "" if count == 1 else "s")
        _warn_of_obstacles(settings)
        if waiting:
            log.warning(
                "reload: what changed in %s takes effect when the daemon is restarted",
                ", ".join(waiting),
            )

    def _list_waiting(self, settings: Config) -> list[str]:
        """Tables that take effect only when the daemon is restarted."""
        return [
            key for key in NOT_RELOADED if getattr(settings, key) != getattr(self._settings, key)
        ]

    def _watch(self, cameras: Sequence[Camera], sources: Mapping[str, CameraSources]) -> None:
        """Go on with other cameras; those whose streams are the same keep their connections."""
        old = self._cameras.configured
        new = {camera.name: camera for camera in cameras}
        renewed = frozenset(
            name for name, camera in new.items()
            if name not in old or complete_source(old[name]) != complete_source(camera)
            or old[name].main != camera.main or old[name].record.audio != camera.record.audio
        )  # fmt: skip
        gone = [name for name in old if name not in new or name in renewed]
        self._cameras.remove(gone, time.monotonic() + MAX_HANG_S)
        self._end_tracks(gone, MAX_HANG_S)
        for name in gone:
            if name not in new:
                self.health.forget(name)
                self.metrics.forget_camera(name)
        if self._view:
            self._view.forget(gone)
        if self._pipeline:
            self._pipeline.watch(cameras, renewed)
        for name, camera in new.items():
            if name in renewed:
                self._cameras.add(camera, sources[name].source, sources[name].main)
            elif camera != old[name]:
                self._cameras.adjust(camera)
        if self._desk and self._archivist:
            self._desk.watch(cameras)
            self._archivist.cameras = self._cameras.recorded
        if self._pipeline:
            kept = {n: e for n, e in self._pipeline.enlargers.items() if n not in renewed}
            self._pipeline.enlargers = self._cameras.make_enlargers(kept)


def _choose_silence_s(watchdog_s: float) -> float:
    """The longest silence of a healthy stage; the heartbeat alone is silent for a second."""
    return min(MAX_SILENCE_S, max(watchdog_s / 3, 1.5)) if watchdog_s else MAX_SILENCE_S


def _warn_of_obstacles(settings: Config) -> None:
    """Tell of rules that wait for something in vain."""
    for camera in settings.cameras:
        for obstacle in list_obstacles(camera, settings):
            log.warning("%s: cameras.events: %s", camera.name, obstacle)
