"""Metrics for Prometheus. Base units, one label `camera`, never a URL or a person."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from edge import __version__
from edge.recording.records import FileKind
from edge.types import UNDECIDED, CameraState, CameraStatus, Classified, FrameResult, Look

PARTS = ("engines", "gallery", "heartbeat", "http", "inference", "sink")  # with threads
_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_AGE_S = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5)


class CameraMetrics:
    """The series of one camera, resolved once so that a frame costs no lookup."""

    def __init__(self, metrics: Metrics, camera: str) -> None:
        self.captured = metrics.capture_frames.labels(camera)
        self.replaced = metrics.frames_dropped.labels(camera, "replaced")
        self.not_due = metrics.frames_dropped.labels(camera, "not_due")
        self.no_motion = metrics.frames_dropped.labels(camera, "no_motion")
        self.undecoded = metrics.frames_dropped.labels(camera, "undecoded")
        self.late = metrics.frames_dropped.labels(camera, "late")
        self.looks: dict[Look, Counter] = {
            look: metrics.looks.labels(camera, str(look)) for look in Look if look is not Look.NONE
        }
        self.lag = metrics.camera_lag.labels(camera)
        self.damaged = metrics.camera_damaged.labels(camera)
        self.flaps = metrics.camera_flaps.labels(camera)
        self.blind = metrics.camera_blind.labels(camera)
        self.up = metrics.camera_up.labels(camera)
        self.reconnects = metrics.camera_reconnects.labels(camera)
        self.last_frame = metrics.camera_last_frame.labels(camera)
        self.latency = metrics.latency.labels(camera)
        self.up.set(0)

    def read(self) -> CameraTotals:
        """What was counted so far."""
        dropped = self.replaced, self.late
        return CameraTotals(
            looked=round(sum(map(_read, self.looks.values()))),
            dropped=round(sum(map(_read, dropped))),
            damaged=round(_read(self.damaged)),
            reconnects=round(_read(self.reconnects)),
            lag_s=_read(self.lag),
        )


def _read(series: Counter | Gauge) -> float:
    [family] = series.collect()
    return float(family.samples[0].value)


@dataclass(frozen=True, slots=True)
class CameraTotals:
    """What was counted of a camera since it was added.

    Attributes:
        looked: Frames that networks looked at.
        dropped: Frames that were due and were not looked at, since a newer one was there or the
            camera was late.
        damaged: Packets and pictures that could not be decoded whole.
        reconnects: Connections after the first one.
        lag_s: How much later than its own stamps say the last frame was read, in seconds.
    """

    looked: int
    dropped: int
    damaged: int
    reconnects: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as it is documented.

    Attributes:
        name: The name in the exposition, with the suffix of its type.
        kind: counter, gauge, histogram or info.
    """

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]


class Metrics:
    """Every metric of the daemon, in a registry of its own.

    Attributes:
        families: All metrics, for the documentation.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.families: list[Family] = []
        self._cameras: dict[str, CameraMetrics] = {}
        self._lock = threading.Lock()
        ProcessCollector(registry=self.registry)
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.capture_frames = counter("capture_frames", "Frames decoded.", "camera")
        self.frames_dropped = counter(
            "frames_dropped",
            "Frames without inference: `replaced` by a newer frame, `not_due` at the camera's fps, "
            "or of a scene in which nothing moved (`no_motion`); and those that were not decoded: "
            "not to be (`undecoded`), or because the camera was too `late`.",
            "camera",
            "reason",
        )
        self.looks = counter(
            "looks",
            "Frames that networks looked at: because something moved (`motion`), somebody is "
            "`followed`, of the `interval`, or `always`, where motion is not measured.",
            "camera",
            "cause",
        )
        self.camera_up = gauge(
            "camera_up",
            "1 while the camera is online; 0 while it is offline, frozen, blind or degraded.",
            "camera",
        )
        self.camera_reconnects = counter(
            "camera_reconnects", "Connections after the first one.", "camera"
        )
        self.camera_flaps = counter("camera_flaps", "Connections that ended within 30 s.", "camera")
        self.camera_damaged = counter(
            "camera_damaged",
            "Packets and pictures that could not be decoded whole.",
            "camera",
        )
        self.camera_blind = gauge(
            "camera_blind",
            "1 while pictures are frozen, black, white or of one color.",
            "camera",
        )
        self.camera_last_frame = gauge(
            "camera_last_frame_timestamp_seconds", "Unix time of the last frame.", "camera"
        )
        self.camera_lag = gauge(
            "camera_lag_seconds",
            "How much later than its stream's own stamps say the last frame was read.",
            "camera",
        )
        self.stage = histogram(
            "stage_duration_seconds", "Duration of one batch in a stage.", _STAGE_S, "stage"
        )
        self.latency = histogram(
            "end_to_end_latency_seconds",
            "Time from the arrival of a frame to the sending of its message.",
            _AGE_S,
            "camera",
        )
        self.batch_size = histogram("batch_size", "Frames per batch.", (1, 2, 4, 8, 16, 32, 64))
        self.detections = counter(
            "detections", "Tracked objects in processed frames.", "camera", "label"
        )
        self.faces = counter(
            "faces", "Faces in processed frames; `found` without recognition.", "camera", "outcome"
        )
        self.face_similarity = histogram(
            "face_match_similarity",
            "Similarity of a face to the nearest person, at each new decision.",
            (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
        )
        self.classifications = counter(
            "classifications",
            "Looks of classifiers: at objects for an attribute, at places for a state.",
            "name",
        )
        self.attributes = counter(
            "attributes",
            "Attributes of objects that were decided, or came into doubt again (`undecided`).",
            "camera", "name", "value",
        )  # fmt: skip
        self.states = gauge(
            "state", "1 for the state in which a place is.", "camera", "name", "value"
        )
        self.main_up = gauge(
            "main_stream_up",
            "Whether packets of the main stream come, 1 or 0; only cameras that have one.",
            "camera",
        )
        self.events = counter("events", "Events that began.", "camera", "severity")
        self.storage_up = gauge(
            "storage_up", "Whether pictures and clips of events are kept, 1 or 0."
        )
        self.stored = gauge(
            "stored_bytes", "What is kept: `clip`, `snapshot`, `thumbnail`, `continuous`.", "kind"
        )
        self.gallery_people = gauge("gallery_people", "People that can be recognized.")
        self.messages_published = counter(
            "messages_published", "Messages handed to a sink.", "topic"
        )
        self.messages_dropped = counter(
            "messages_dropped",
            "Messages lost on their way: `outbox_full` when a sink is too slow, `sink_failed`, and "
            "`slow_subscriber` for each subscriber that missed one at its high-water mark.",
            "reason",
            "sink",
        )
        self.stuck_threads = gauge(
            "stuck_threads",
            "Threads that have made no progress for too long, by part: `engines`, `gallery`, "
            "`heartbeat`, `http`, `inference` or `sink`.",
            "part",
        )
        self.set_stuck(())
        self.sink_up = gauge(
            "sink_up", "1 while the sink is open and, where it can tell, delivers.", "sink"
        )
        self.spool_messages = gauge(
            "spool_messages", "Messages that wait on the disk for a server.", "sink"
        )
        self.spool_bytes = gauge("spool_bytes", "Bytes of the messages that wait there.", "sink")
        self.subscribers = gauge("subscribers", "Subscribers that are connected.", "sink")
        self.subscribers_cut = counter(
            "subscribers_cut",
            "Subscribers that were disconnected: too many `subscriptions`, no `handshake` in time, "
            "not the `protocol`, no authorized key (`security`), a key that was `revoked`, or all "
            "places were taken (`full`).",
            "sink",
            "reason",
        )
        self.model_info = self._info("model", "The models in use.", "task")
        self.model_up = gauge(
            "model_up", "1 while the model's output is plausible, 0 while it is broken.", "task"
        )
        self.model_rows_refused = counter(
            "model_rows_refused",
            "Implausible rows of a model, which were dropped: `not_finite`, `score` outside 0 to "
            "1, `unknown_class`, box with `no_area` or `outside` the picture, embedding of another "
            "`length` than 1.",
            "task",
            "reason",
        )
        self.engine_build = gauge(
            "engine_build_seconds",
            "How long the engine of a model has been building, or took to build.",
            "task",
        )
        self.engine_in_use = gauge(
            "engine_in_use",
            "1 while an engine runs the model, 0 while ONNX Runtime does instead.",
            "task",
        )
        self._info("build", "The version of this program.").info({"version": __version__})
        self.reload_successful = gauge(
            "config_last_reload_successful",
            "1 when the file is in use as it was last read, 0 when it was refused.",
        )
        self.reload_time = gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration was last put in use.",
        )

    def note_load(self) -> None:
        """The configuration is in use as it was read."""
        self.reload_successful.set(1)
        self.reload_time.set_to_current_time()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.families.append(Family(f"edge_{name}_total", "counter", text, labels))
        return Counter(f"edge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.families.append(Family(f"edge_{name}", "gauge", text, labels))
        return Gauge(f"edge_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        self.families.append(Family(f"edge_{name}", "histogram", text, labels))
        return Histogram(f"edge_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _info(self, name: str, text: str, *labels: str) -> Info:
        self.families.append(Family(f"edge_{name}_info", "info", text, labels))
        return Info(f"edge_{name}", text, labels, registry=self.registry)

    def camera(self, camera: str) -> CameraMetrics:
        """The series of a camera, created at the first call."""
        if camera not in self._cameras:
            self._cameras[camera] = CameraMetrics(self, camera)
        return self._cameras[camera]

    def read_camera(self, camera: str) -> CameraTotals | None:
        """What was counted of a camera; None of one that is not there."""
        with self._lock:
            series = self._cameras.get(camera)
            return series.read() if series else None

    def forget_camera(self, camera: str) -> None:
        """Remove every series of a camera; what still comes from it is not counted."""
        with self._lock:
            self._cameras.pop(camera, None)
            for family in (
                self.capture_frames, self.frames_dropped, self.looks, self.camera_up,
                self.camera_reconnects, self.camera_flaps, self.camera_damaged, self.camera_blind,
                self.camera_last_frame, self.camera_lag, self.latency, self.detections, self.faces,
                self.main_up, self.events, self.attributes, self.states,
            ):  # fmt: skip
                family.remove_by_labels({"camera": camera})

    def forget_sink(self, sink: str) -> None:
        """Remove every series of a sink."""
        for family in (
            self.messages_dropped, self.sink_up, self.spool_messages, self.spool_bytes,
            self.subscribers, self.subscribers_cut,
        ):  # fmt: skip
            family.remove_by_labels({"sink": sink})

    def forget_model(self, task: str) -> None:
        """Remove every series of a model."""
        for family in (
            self.model_info, self.model_up, self.model_rows_refused, self.engine_build,
            self.engine_in_use,
        ):  # fmt: skip
            family.remove_by_labels({"task": task})

    def count_result(self, result: FrameResult, classes: Sequence[str]) -> None:
        """Count the content of one processed frame."""
        camera = result.frame.camera
        with self._lock:
            metrics = self._cameras.get(camera)
            if not metrics:  # removed since
                return
            for told in result.told_states:
                self._set_state(camera, told)
            if not result.looked:
                metrics.no_motion.inc()
                return
            metrics.looks[result.look].inc()
            for class_id in result.tracks.class_id.tolist():
                self.detections.labels(camera, classes[class_id]).inc()
            if result.decisions:
                self._count_decisions(result)
            elif len(result.faces):
                self.faces.labels(camera, "found").inc(len(result.faces))
            for _, told in result.told_attributes:
                self.attributes.labels(camera, told.name, told.value).inc()

    def set_state(self, camera: str, state: Classified) -> None:
        """Record the state of a place; `UNDECIDED` is none."""
        with self._lock:
            if camera in self._cameras:
                self._set_state(camera, state)

    def _set_state(self, camera: str, state: Classified) -> None:
        self.states.remove_by_labels({"camera": camera, "name": state.name})
        if state.value != UNDECIDED:
            self.states.labels(camera, state.name, state.value).set(1)

    def _count_decisions(self, result: FrameResult) -> None:
        for decision in result.decisions:
            self.faces.labels(result.frame.camera, str(decision.outcome)).inc()
        for row in result.decided:
            similarity = result.decisions[row].similarity
            if similarity == similarity:  # not NaN
                self.face_similarity.observe(similarity)

    def set_stored(self, sizes: Mapping[FileKind, int]) -> None:
        """Set what is kept, in bytes."""
        for kind, size_bytes in sizes.items():
            self.stored.labels(str(kind)).set(size_bytes)

    def set_stuck(self, names: Sequence[str]) -> None:
        """Record the threads that make no progress; the first word of a name is its part."""
        parts = [name.partition(" ")[0] for name in names]
        for part in PARTS:
            self.stuck_threads.labels(part).set(parts.count(part))

    def set_status(self, status: CameraStatus) -> None:
        """Record whether a camera is online or blind."""
        if camera := self._cameras.get(status.camera):
            camera.up.set(1 if status.state is CameraState.ONLINE else 0)
            camera.blind.set(1 if status.state in (CameraState.FROZEN, CameraState.BLIND) else 0)

    def observe_latency(self, camera: str, age_s: float) -> None:
        """Record the age of a message at publication."""
        if metrics := self._cameras.get(camera):
            metrics.latency.observe(age_s)

    def render(self) -> bytes:
        """Render the exposition text."""
        return generate_latest(self.registry)
