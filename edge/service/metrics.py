"""Metrics: what Prometheus is told. Base units, one label `camera`, never a URL or a person."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from edge import __version__
from edge.types import CameraState, CameraStatus, FrameResult

_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_AGE_S = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5)


class CameraMetrics:
    """The series of one camera, resolved once so that a frame costs no look-up."""

    def __init__(self, metrics: Metrics, camera: str) -> None:
        self.captured = metrics.capture_frames.labels(camera)
        self.replaced = metrics.frames_dropped.labels(camera, "replaced")
        self.not_due = metrics.frames_dropped.labels(camera, "not_due")
        self.up = metrics.camera_up.labels(camera)
        self.reconnects = metrics.camera_reconnects.labels(camera)
        self.last_frame = metrics.camera_last_frame.labels(camera)
        self.latency = metrics.latency.labels(camera)
        self.up.set(0)


class Metrics:
    """Every metric of the daemon, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.capture_frames = Counter(
            "edge_capture_frames", "Frames decoded.", ["camera"], registry=registry
        )
        self.frames_dropped = Counter(
            "edge_frames_dropped",
            "Frames decoded but not looked at: replaced by a newer one, or not due at the "
            "camera's fps.",
            ["camera", "reason"],
            registry=registry,
        )
        self.camera_up = Gauge(
            "edge_camera_up", "1 while the camera delivers.", ["camera"], registry=registry
        )
        self.camera_reconnects = Counter(
            "edge_camera_reconnects",
            "Connections after the first one.",
            ["camera"],
            registry=registry,
        )
        self.camera_last_frame = Gauge(
            "edge_camera_last_frame_timestamp_seconds",
            "Unix time of the last frame.",
            ["camera"],
            registry=registry,
        )
        self.stage = Histogram(
            "edge_stage_duration_seconds",
            "Time of one batch in a stage.",
            ["stage"],
            buckets=_STAGE_S,
            registry=registry,
        )
        self.latency = Histogram(
            "edge_end_to_end_latency_seconds",
            "From the arrival of a frame to its message leaving.",
            ["camera"],
            buckets=_AGE_S,
            registry=registry,
        )
        self.batch_size = Histogram(
            "edge_batch_size",
            "Frames a batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.detections = Counter(
            "edge_detections",
            "Tracked objects in processed frames.",
            ["camera", "label"],
            registry=registry,
        )
        self.faces = Counter(
            "edge_faces", "Faces in processed frames.", ["camera", "outcome"], registry=registry
        )
        self.face_similarity = Histogram(
            "edge_face_match_similarity",
            "Similarity of a face to the nearest person, at each new decision.",
            buckets=(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
            registry=registry,
        )
        self.gallery_people = Gauge(
            "edge_gallery_people", "People who can be recognised.", registry=registry
        )
        self.messages_published = Counter(
            "edge_messages_published", "Messages handed over.", ["topic"], registry=registry
        )
        self.messages_dropped = Counter(
            "edge_messages_dropped", "Messages lost before a sink.", ["reason"], registry=registry
        )
        self.sink_up = Gauge(
            "edge_sink_up", "1 while the sink is open.", ["sink"], registry=registry
        )
        self.model_info = Info("edge_model", "The models in use.", ["task"], registry=registry)
        self.engine_build = Gauge(
            "edge_engine_build_seconds",
            "How long the engine of a model has been building, or took.",
            ["task"],
            registry=registry,
        )
        self.engine_in_use = Gauge(
            "edge_engine_in_use",
            "1 while an engine runs the model, 0 while ONNX Runtime does in its place.",
            ["task"],
            registry=registry,
        )
        build = Info("edge_build", "This program.", registry=registry)
        build.info({"version": __version__})
        self.reload_successful = Gauge(
            "edge_config_last_reload_successful",
            "1 when the last load of the configuration succeeded.",
            registry=registry,
        )
        self._cameras: dict[str, CameraMetrics] = {}

    def camera(self, camera: str) -> CameraMetrics:
        """The series of a camera; they exist from here on."""
        if camera not in self._cameras:
            self._cameras[camera] = CameraMetrics(self, camera)
        return self._cameras[camera]

    def forget_camera(self, camera: str) -> None:
        """Remove every series of a camera that was removed."""
        self._cameras.pop(camera, None)
        for family in (
            self.capture_frames,
            self.frames_dropped,
            self.camera_up,
            self.camera_reconnects,
            self.camera_last_frame,
            self.latency,
            self.detections,
            self.faces,
        ):
            family.remove_by_labels({"camera": camera})

    def count_result(self, result: FrameResult, classes: Sequence[str]) -> None:
        """Count what one processed frame showed."""
        camera = result.frame.camera
        for class_id in result.tracks.class_id.tolist():
            self.detections.labels(camera, classes[class_id]).inc()
        if result.decisions:
            self._count_decisions(result)
        elif len(result.faces):
            self.faces.labels(camera, "found").inc(len(result.faces))

    def _count_decisions(self, result: FrameResult) -> None:
        for decision in result.decisions:
            self.faces.labels(result.frame.camera, str(decision.outcome)).inc()
        for row in result.decided:
            similarity = result.decisions[row].similarity
            if similarity == similarity:  # not NaN
                self.face_similarity.observe(similarity)

    def set_status(self, status: CameraStatus) -> None:
        """Tell whether a camera delivers."""
        self.camera(status.camera).up.set(1 if status.state is CameraState.ONLINE else 0)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
