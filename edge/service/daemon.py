"""The daemon: startup, main loop, shutdown. The only place that wires things together."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from uuid import uuid4

from edge import config_file
from edge.classification.observer import Observer
from edge.config import Camera, Config, Http, Log
from edge.config_file import locate_in
from edge.errors import ConfigError, EdgeError, locate
from edge.event import Event, EventChange
from edge.events.obstacle import list_obstacles
from edge.models.output_check import OutputCheck
from edge.people.gallery.location import resolve_gallery
from edge.people.recognition.recognizer import Recognizer
from edge.pipeline import Pipeline
from edge.ports import LoadedModel
from edge.service import systemd
from edge.service.archivist import Archivist
from edge.service.audit_forwarder import AuditForwarder
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
from edge.service.freed_memory import FreedMemory, limit_arenas, return_freed_memory
from edge.service.gallery_people import GalleryPeople
from edge.service.gallery_sync import GalleryFollower, check_gallery, follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer, identify, prepare_address
from edge.service.inference import InferencePool
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.service.node_view import NodeView
from edge.service.publisher import Publisher
from edge.service.reload import Plan, Preparation, list_fixed, refuse_fixed
from edge.service.workers import Worker, WorkerGroup, stop_all
from edge.types import (
    CameraState,
    CameraStatus,
    Classified,
    FrameResult,
    StatusReason,
    TrackLoss,
)
from edge.vision.tracker import make_track_ids
from edge.web.access import Access, read_rules
from edge.web.app import create_page
from edge.web.ports import Archive, Node, People
from edge.wire.message_builder import MessageBuilder

log = logging.getLogger(__name__)

STOPPED = "the daemon stopped"
STOP_S = 4.5  # everything must have ended by then
MAX_SILENCE_S = 10.0  # of a stage; with a watchdog a third of its time, if that is less
MAX_BATCH_S = 5.0  # for a batch to end, before models are exchanged
MAX_HTTP_S = 3.0  # for requests to be answered, before another server takes over
MAX_HANG_S = 1.0  # what hangs must not hold up a stop or a reload for longer
SWITCH_INTERVAL_S = 0.0005  # a camera's thread must not wait 5 ms for another's turn to end
ENGINE_PATIENCE = 30  # compiling kernels for a GPU may take minutes without a sign of progress
EXPECTED = (StatusReason.CONNECTING, StatusReason.STOPPED)  # no reason to warn
SLOW_S = 30.0  # a reload that takes longer is told
PREPARING_S = 0.05  # between two looks at a reload that is being prepared


class Daemon:
    """One node: cameras, pipeline, sinks, metrics.

    Args:
        path: Its file, read again on reload; model paths are relative to its folder.
        models: Loaded models; None loads those of the configuration.
        on_result: Called in the inference threads with every result; must be quick.
        set_up_log: Called with what a reload changes of the log.
    """

    def __init__(
        self,
        settings: Config,
        path: Path | None = None,
        models: ModelSet | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
        set_up_log: Callable[[Log], None] = lambda _: None,
    ) -> None:
        self.metrics = Metrics()
        self.health = HealthBoard([self.metrics.set_status, self._publish_status])
        self._settings = settings
        self._path = path
        self._base = path.parent if path else Path()
        self._models = models
        self._ids: Iterator[int] = iter(())
        self._recognition: GalleryFollower | None = None
        self._gallery: Worker | None = None
        self._engines: Worker | None = None
        self._node: Node | None = None
        self._on_result = on_result
        self._set_up_log = set_up_log
        self._ending = threading.Event()
        self._stop_asked_s = float("inf")
        self._interruptible = False  # whether a signal may end what nothing depends on yet
        self._reload = threading.Event()
        self._preparation: Preparation | None = None
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
        self._helpers: list[Worker] = []  # heartbeat and audit log
        self._builder: MessageBuilder | None = None
        self._pipeline: Pipeline | None = None
        self._inference: InferencePool | None = None
        self._http: HttpServer | None = None
        self._access: Access | None = None

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
        limit_arenas()  # before there are threads
        self._models = models = self._models or ModelSet.load(settings, self._base)
        self._describe_models(models)
        detector = models.detector
        self._builder = MessageBuilder(
            settings.node, uuid4().hex, detector.classes, detector.name, detector.sha256
        )
        self._archivist = archivist = Archivist(
            settings.storage, self._base, self._publish_event, self._report_storage,
            self.metrics.set_stored,
        )  # fmt: skip
        self._desk = EventDesk(detector.classes, archivist.put)
        self._ids = make_track_ids(time.time())
        self._recognition = follower = self._create_follower(models)
        recognizer = follower.recognizer if follower else None
        observer = self._create_observer(settings, models)
        observer.count = self._count_looks
        self._pipeline = Pipeline(detector, models.faces, self._ids, recognizer, observer)
        self._pipeline.watch(settings.cameras)
        sources = create_sources(settings.cameras)
        self._desk.watch(settings.cameras)
        self._view = view = NodeView(
            settings.node, self._cameras, self.health, archivist, detector.classes
        )
        self._node = node = view.describe(
            self._make_people_desk(settings, models), self._path, self.reload, self._list_waiting,
            settings.models.detector,
        )  # fmt: skip
        self._access = Access(read_rules(settings.http, self._base))
        page = create_page(settings.http, self._base, node, self._access)
        self._http = HttpServer(settings.http, self.metrics, self.health, page)
        self._http.start()
        self._publisher.start(settings.sinks)
        self._inference = InferencePool(
            self._pipeline,
            self._frames,
            settings.batching,
            models.workers,
            self._are_models_ready,
            self._publish_results,
            self._publish_losses,
            self.metrics,
            self.health,
            len(settings.cameras),
            models.max_batch_size,
        )
        self._inference.start(group)
        self._helpers.append(group.start("heartbeat", self._send_heartbeats))
        forwarder = AuditForwarder(
            self._find_gallery, self._publisher.list_auditors, self._builder.build_audit
        )
        self._helpers.append(group.start("audit", forwarder.run))
        if follower:
            self._gallery = group.start("gallery", follower.run)
        if models.manager:
            self._engines = self._start_engines(models.manager)
        for camera in settings.cameras:
            streams = sources[camera.name]
            self._cameras.add(camera, streams.source, streams.main)
        archivist.cameras = self._cameras.recorded
        self._pipeline.enlargers = self._cameras.make_enlargers({})
        if settings.storage:
            self._keepers.start("storage", archivist.run)
        self.metrics.note_load()
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
        freed = FreedMemory()
        while not self._ending.wait(PREPARING_S if self._preparation else interval_s):
            self._group.raise_death()
            self._cameras.check()
            self._keepers.raise_death()
            if self._desk:
                self._desk.tick()
            self._go_on_reloading()
            freed.tick()
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
        inferring += [worker for worker in (self._gallery, self._engines) if worker]
        inferring += [self._preparation.worker] if self._preparation else []
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

    def _publish_results(self, results: Sequence[FrameResult]) -> None:
        if self._builder is None or self._pipeline is None:
            return
        messages, classes = [], self._pipeline.classes
        for result in results:
            self.metrics.count_result(result, classes)
            self._cameras.note(result)
            if self._desk and self._view:
                self._desk.note(result)
                self._view.note(result)
            if self._on_result:
                self._on_result(result)
            messages += self._builder.build(result, self._cameras.sample_jpeg(result.frame))
        self._publisher.publish(messages)

    def _publish_states(self, states: Sequence[tuple[str, Classified]]) -> None:
        """Publish states of places that no frame has changed: told again, or withdrawn."""
        for camera, state in states:
            self.metrics.set_state(camera, state)
        if self._builder:
            now_s = time.time()
            self._publisher.publish([self._builder.build_state(*s, now_s) for s in states])

    def _count_looks(self, name: str, looks: int) -> None:
        self.metrics.classifications.labels(name).inc(looks)

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

    def _describe_models(self, models: ModelSet, former: ModelSet | None = None) -> None:
        """Show which models run, after the former ones where there were some."""
        known: Mapping[str, LoadedModel] = former.by_task() if former else {}
        gone = [task for task, model in known.items() if models.by_task().get(task) is not model]
        for task in gone:
            if former and (check := former.checks().get(task)):
                check.silence()
            self.metrics.forget_model(task)
            self.health.report_model(task, "")
        for task, model in models.by_task().items():
            if model is known.get(task):
                continue
            about = {"name": model.name, "sha256": model.sha256[:12]}
            self.metrics.model_info.labels(task).info(about)
            if check := models.checks().get(task):
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

    def _create_follower(self, models: ModelSet) -> GalleryFollower | None:
        """The recognizer and its follower, if the configuration asks for them."""
        recognition = self._settings.recognition
        if recognition is None:
            return None
        if models.embedder is None:
            raise ConfigError("the given models have no embedder", key="recognition")
        count = self.metrics.gallery_people.set
        with locate(key="recognition.gallery"):
            return follow_gallery(
                recognition, self._base, models.embedder, models.liveness, self._ids, count,
                self.health.report_gallery, finder=models.faces,
                retain=self._retain_people, suspend=self.health.report_suspension,
            )  # fmt: skip

    def _create_observer(self, settings: Config, models: ModelSet) -> Observer:
        return Observer(settings.attributes, models.classifiers, models.detector.classes)

    def _find_gallery(self) -> Path | None:
        recognition = self._settings.recognition
        return resolve_gallery(recognition, self._base) if recognition else None

    def _retain_people(self, people: frozenset[str]) -> None:
        """Name only these in events: first in those that go on, then in those that are kept."""
        if self._desk and self._archivist:
            self._desk.retain_people(people)
            self._archivist.retain_people(people)

    def _make_people_desk(
        self, settings: Config, models: ModelSet
    ) -> Callable[[Archive | None], People] | None:
        """What makes the desk that changes the gallery, if there is one."""
        recognition, finder, embedder = settings.recognition, models.faces, models.embedder
        if recognition is None or finder is None or embedder is None:
            return None
        return lambda archive: GalleryPeople(recognition, self._base, finder, embedder, archive)

    def _are_models_ready(self) -> bool:
        manager = self._models.manager if self._models else None
        return manager is None or manager.is_ready

    def _start_engines(self, manager: EngineManager) -> Worker:
        """Start the worker that builds and loads engines."""
        metrics = self.metrics
        manager.building = lambda task, took_s: metrics.engine_build.labels(task).set(took_s)
        manager.using = lambda task, used: metrics.engine_in_use.labels(task).set(used)
        return self._group.start("engines", manager.run, ENGINE_PATIENCE)

    # --- reload -------------------------------------------------------------------------------

    def _go_on_reloading(self) -> None:
        """Prepare what was asked for, or put in place what is prepared."""
        if self._preparation is None and self._reload.is_set():
            self._reload.clear()
            self._preparation = Preparation(self._prepare) if self._path else None
        if self._preparation is None:
            return
        if not self._preparation.is_done:
            self._tell_slow(self._preparation)
            return
        preparation, self._preparation = self._preparation, None
        try:
            self._put_in_place(preparation.get())
        except EdgeError as error:
            self.metrics.reload_successful.set(0)
            self.health.report_reload(str(error))
            log.error("reload refused, the running configuration stays: %s", error)  # noqa: TRY400

    def _tell_slow(self, preparation: Preparation) -> None:
        """Tell once that a reload takes long: engines are built, or a file or gallery hangs."""
        if preparation.is_told or preparation.lasts_s < SLOW_S:
            return
        preparation.is_told = True
        problem = f"it has been read and tried for {SLOW_S:g} s: engines are built, or a file hangs"
        self.health.report_reload(problem)
        log.warning("reload: %s; the running configuration stays meanwhile", problem)

    def _prepare(self, worker: Worker) -> Plan:
        """Read the file again; in a thread of its own.

        Raises:
            EdgeError: It cannot be used, or not before a restart.
        """
        assert self._path  # noqa: S101 - for mypy
        assert self._models  # noqa: S101
        with locate_in(self._path):
            tree, text = config_file.read(self._path)
            settings = config_file.parse(tree, self._path, text)
            refuse_fixed(settings, self._settings)
            models = self._models.renew(settings, self._settings, self._base, worker)
            config_file.check_labels(tree, models.detector.classes, self._path, text)
            recognition, people = self._prepare_recognition(settings, models)
            observer = self._prepare_observer(settings, models)
            sources = create_sources(settings.cameras)
            sinks = self._publisher.create(settings.sinks)
            server, access = self._prepare_http(settings.http)
        return Plan(settings, sources, sinks, models, recognition, observer, people, server, access)

    def _prepare_observer(self, settings: Config, models: ModelSet) -> Observer | None:
        """What asks classifiers; None where the one that does goes on."""
        running = self._models
        same = running and (
            models.classifiers == running.classifiers
            and models.detector.classes == running.detector.classes
            and settings.attributes == self._settings.attributes
        )
        return None if same else self._create_observer(settings, models)

    def _prepare_http(self, options: Http) -> tuple[HttpServer | None, Access | None]:
        """A server as configured, at its address if that is free; None if the one that runs is."""
        if self._http is None or self._node is None or self._http.identity == identify(options):
            return None, None
        access = Access(read_rules(options, self._base), self._access)
        page = create_page(options, self._base, self._node, access)
        server = HttpServer(options, self.metrics, self.health, page)
        prepare_address(server, options, self._settings.http)
        return server, access

    def _prepare_recognition(
        self, settings: Config, models: ModelSet
    ) -> tuple[GalleryFollower | None, frozenset[str]]:
        """What names people, and who they are; the one that runs where nothing of it changes."""
        recognition, running = settings.recognition, self._models
        if recognition is None or models.embedder is None:
            return None, frozenset()
        same = running and all(
            getattr(models, name) is getattr(running, name)
            for name in ("faces", "embedder", "liveness")
        )
        if same and recognition == self._settings.recognition:
            return self._recognition, frozenset()
        with locate(key="recognition.gallery"):
            return check_gallery(
                recognition, self._base, models.embedder, models.liveness, self._ids, models.faces
            )

    def _put_in_place(self, plan: Plan) -> None:
        """Go on with another configuration; only cameras whose source changed start anew.

        Raises:
            EdgeError: Inference hangs; nothing was changed.
        """
        settings = plan.settings
        exchanges = (
            plan.models is not self._models
            or plan.recognition is not self._recognition
            or plan.observer is not None
        )
        is_renamed = settings.node != self._settings.node
        with contextlib.ExitStack() as stack:
            if (exchanges or is_renamed) and self._inference:
                is_alone = stack.enter_context(self._inference.gate.close(MAX_BATCH_S))
                if not is_alone:
                    plan.discard()
                    raise EdgeError(
                        f"a batch did not end within {MAX_BATCH_S:g} s, and models are exchanged "
                        "between two of them: reload again"
                    )
            self._publisher.change(settings.sinks, plan.sinks)
            if exchanges:
                self._exchange(plan)
            if is_renamed:
                self._rename(settings.node)
            self._watch(settings.cameras, plan.sources)
        if exchanges:
            return_freed_memory()
        self._adjust(plan)
        self._settings = settings
        if (plan.sinks or is_renamed) and self._builder:  # new ones know of no camera
            known = self.health.states()
            self._publisher.publish([self._builder.build_status(status) for status in known])
            self._publish_states(self._pipeline.list_states() if self._pipeline else [])
        self.metrics.note_load()
        self.health.report_reload("")
        count = len(self._cameras)
        log.info("reloaded: %d camera%s", count, "" if count == 1 else "s")
        _warn_of_obstacles(settings)

    def _adjust(self, plan: Plan) -> None:
        """Take over what no message depends on."""
        settings = plan.settings
        if self._inference:
            self._inference.batching = settings.batching
            self._inference.camera_count = len(settings.cameras)
        if self._archivist:
            self._archivist.adjust(settings.storage)
        if settings.log != self._settings.log:
            self._set_up_log(settings.log)
        if plan.server:
            self._exchange_http(plan.server, settings.http)
            self._access = plan.access

    def _rename(self, name: str) -> None:
        """Go on under another name, which to subscribers is another node."""
        if self._builder and self._node:
            self._publisher.publish([self._builder.rename(name, uuid4().hex)])
            self._node.name = name

    def _exchange_http(self, server: HttpServer, options: Http) -> None:
        """Serve otherwise; who connects meanwhile waits."""
        former, running = self._http, self._settings.http
        if former:
            if (options.host, options.port) == (running.host, running.port):
                server.follow(former)
            former.stop(time.monotonic() + MAX_HTTP_S, hands_over=True)
        server.start()
        self._http = server
        log.info("http port %d", server.port)

    def _exchange(self, plan: Plan) -> None:
        """Go on with other models and other recognition, while no batch runs."""
        if not (self._pipeline and self._builder and self._desk and self._view and self._node):
            return
        models, detector = plan.models, plan.models.detector
        recognizer = self._exchange_recognition(plan)
        self._publish_losses(
            self._pipeline.exchange(detector, models.faces, recognizer, plan.observer)
        )
        self._builder.use_model(detector.classes, detector.name, detector.sha256)
        self._desk.change_classes(detector.classes)
        self._view.classes = detector.classes
        self._describe_models(models, self._models)
        former, self._models = self._models, models
        if models.manager and former and former.manager:
            self._exchange_engines(models.manager, former.manager)
        people = self._make_people_desk(plan.settings, models)
        self._node.people = people(self._node.archive) if people else None
        if self._node.configuration:
            self._node.configuration = replace(
                self._node.configuration, classes=tuple(detector.classes),
                detector=plan.settings.models.detector,
            )  # fmt: skip
        log.info("models: %s", ", ".join(f"{t} {m.name}" for t, m in models.by_task().items()))

    def _exchange_engines(self, manager: EngineManager, former: EngineManager) -> None:
        """Build and load engines of the models that are new, and free those of the others."""
        if self._engines:
            self._group.remove([self._engines], time.monotonic() + MAX_HANG_S)
        manager.dismiss(former)
        self._engines = self._start_engines(manager)

    def _exchange_recognition(self, plan: Plan) -> Recognizer | None:
        """Follow another gallery, or none, where that changes; what recognizes from now on."""
        follower, former = plan.recognition, self._recognition
        if follower is former:
            return former.recognizer if former else None
        if self._gallery:
            self._group.remove([self._gallery], time.monotonic() + MAX_HANG_S)
        self._recognition = self._gallery = None
        self.health.report_gallery("")
        self.health.report_suspension("")
        self.metrics.gallery_people.set(0)
        if follower is None:
            return None
        if former:
            follower.recognizer.take_over(former.recognizer)
        self._retain_people(plan.people)
        told = replace(
            follower, count=self.metrics.gallery_people.set, report=self.health.report_gallery,
            retain=self._retain_people, suspend=self.health.report_suspension,
        )  # fmt: skip
        self._recognition, self._gallery = told, self._group.start("gallery", told.run)
        return told.recognizer

    def _list_waiting(self, settings: Config) -> list[str]:
        """Tables for which a configuration is refused until the daemon is restarted."""
        return list_fixed(settings, self._settings)

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
            self._publish_states(self._pipeline.watch(cameras, renewed))
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
