"""The node as the page sees it."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from edge.config import Config, ModelFile
from edge.errors import StorageError
from edge.event import Event, EventChange
from edge.recording.mp4 import Part, join
from edge.recording.records import WORRYING_SHARE, EventRecord, FileKind, describe_protected
from edge.recording.ring import PacketRing
from edge.repeated_warning import RepeatedWarnings
from edge.service.archivist import Archivist
from edge.service.camera_pool import CameraPool
from edge.service.explainer import Explainer
from edge.service.frame_rate import AgeMeter, RateMeter
from edge.service.gpu_meter import GpuMeter
from edge.service.health import HealthBoard
from edge.types import UNDECIDED, Classified, FrameResult, Outcome
from edge.web.changes import ChangeFeed
from edge.web.live_ring import open_ring
from edge.web.ports import (
    Archive,
    CameraSight,
    ConfigurationFile,
    LatestPicture,
    LiveStream,
    Node,
    NodeHealth,
    People,
)
from edge.web.schema import CameraHealth

log = logging.getLogger(__name__)


@dataclass(slots=True)
class NodeView:
    """Remembers what the page shows.

    Attributes:
        classes: Class names by class_id.
        changes: What happens, for pages that are open.
    """

    name: str
    cameras: CameraPool
    health: HealthBoard
    archivist: Archivist
    classes: Sequence[str]
    changes: ChangeFeed = field(default_factory=ChangeFeed)
    _latest: dict[str, tuple[FrameResult, Sequence[str]]] = field(default_factory=dict)  # classes
    _rates: dict[str, RateMeter] = field(default_factory=dict)
    _ages: dict[str, AgeMeter] = field(default_factory=dict)
    _gpu: GpuMeter = field(default_factory=GpuMeter)

    def note(self, result: FrameResult) -> None:
        """Remember the newest frame of a camera."""
        frame = result.frame
        self._latest[frame.camera] = result, self.classes
        rate = self._rates.get(frame.camera)
        if rate is None:
            rate = self._rates[frame.camera] = RateMeter()
            self._ages[frame.camera] = AgeMeter()
        rate.count(frame.age_from_s)
        self._ages[frame.camera].note(time.monotonic() - frame.age_from_s)

    def note_event(self, event: Event, change: EventChange, *, snapshot: bool, clip: bool) -> None:
        """Tell a change of an event to pages that are open."""
        has_clip = clip and change is EventChange.ENDED  # before, it is being written
        kept = {FileKind.SNAPSHOT: snapshot, FileKind.THUMBNAIL: snapshot, FileKind.CLIP: has_clip}
        files = frozenset(kind for kind, is_there in kept.items() if is_there)
        self.changes.add_event(change, EventRecord(event, files=files))

    def describe(
        self,
        people: Callable[[Archive | None], People] | None,
        path: Path | None,
        reload: Callable[[], None],
        list_waiting: Callable[[Config], Sequence[str]],
        detector: ModelFile,
    ) -> Node:
        """What there is to see.

        Args:
            people: Makes the desk that changes the gallery; None without recognition.
            path: The configuration file.
            reload: Asks the node to read it again.
            detector: The model that detects ``classes``.
            list_waiting: Tables for which a configuration is refused until the node is restarted.
        """
        folder = self.archivist.folder
        archive = Archive(folder) if folder else None
        configuration = (
            ConfigurationFile(path, reload, tuple(self.classes), list_waiting, detector)
            if path
            else None
        )
        return Node(
            self.name,
            self.list_cameras,
            self.describe_health,
            self.changes,
            archive,
            self.get_latest,
            self.open_live,
            Exporter(archive).export if archive else None,
            people(archive) if people else None,
            configuration,
            Explainer(detector, path.parent if path else Path()).explain if archive else None,
        )

    def list_cameras(self) -> list[CameraSight]:
        """All cameras."""
        states = {status.camera: status for status in self.health.states()}
        recorded = self.cameras.recorded
        return [
            CameraSight(
                camera,
                states.get(name),
                self._rates[name].measure(time.monotonic()) if name in self._rates else 0.0,
                name in recorded and self._find_live(name) is not None,
            )
            for name, camera in self.cameras.configured.items()
        ]

    def open_live(self, name: str) -> LiveStream:
        """The stream of a camera.

        Raises:
            LookupError: Its pictures do not come coded.
        """
        ring = self._find_live(name)
        if ring is None:
            raise LookupError(f"{name} has no stream that can be shown as it is sent")
        return open_ring(ring)

    def _find_live(self, name: str) -> PacketRing | None:
        """The packets that may be shown: not those of a camera in which something is hidden."""
        camera = self.cameras.recorded.get(name)
        return camera.source if camera and not camera.settings.hide else None

    def get_latest(self, name: str) -> LatestPicture | None:
        """The newest picture of a camera."""
        latest, camera = self._latest.get(name), self.cameras.configured.get(name)
        if latest is None or camera is None:
            return None
        result, classes = latest
        tracks, names = result.tracks, [""] * len(result.tracks)
        for row, decision in enumerate(result.decisions):
            owner = int(result.faces.track_row[row])
            if owner >= 0 and decision.outcome is Outcome.KNOWN:
                names[owner] = decision.name
        labels = tuple(classes[class_id] for class_id in tracks.class_id.tolist())
        return LatestPicture(
            result.frame,
            tracks.xyxy,
            labels,
            tuple(tracks.track_id.tolist()),
            tuple(names),
            result.faces.xyxy,
            camera.hide,
            tuple(map(_list_decided, result.attributes or ((),) * len(tracks))),
            _list_decided(result.states),
        )

    def forget(self, names: Sequence[str]) -> None:
        """Forget cameras that were removed."""
        for name in names:
            self._latest.pop(name, None)
            self._rates.pop(name, None)
            self._ages.pop(name, None)

    def describe_health(self) -> NodeHealth:
        """How the node is."""
        board = self.health
        problems = [f"{task}: {why}" for task, why in board.broken_models.items()]
        problems += [f"sink {sink}: {why}" for sink, why in board.broken_sinks.items()]
        problems += [f"no progress in {name}" for name in board.stuck]
        problems += [f"gallery: {board.gallery_problem}"] if board.gallery_problem else []
        problems += [f"no one is named: {board.suspension}"] if board.suspension else []
        problems += [f"storage: {board.storage_problem}"] if board.storage_problem else []
        problems += [f"configuration refused: {why}" for why in board.reload_problem.splitlines()]
        problems += [
            f"{status.camera} is {status.state}: {status.reason}"
            for status in board.states()
            if not board.delivers(status)
        ]
        problems += [
            f"main stream of {camera}: {why}; clips are made of source meanwhile"
            for camera, why in self.cameras.main_problems.items()
        ]
        problems += [
            f"{camera} is recorded without sound: {why}"
            for camera, why in self.cameras.sound_problems.items()
        ]
        if (share := self.archivist.protected_share) > WORRYING_SHARE:
            problems.append(describe_protected(share))
        figures = {"load_ratio": os.getloadavg()[0] / (os.cpu_count() or 1)}
        if folder := self.archivist.folder:
            if folder.exists():
                usage = shutil.disk_usage(folder)
                figures |= {"disk_free_bytes": usage.free, "disk_total_bytes": usage.total}
            for kind, size in self.archivist.stored.items():
                figures[f"stored_{kind}_bytes"] = size
            figures["stored_protected_bytes"] = self.archivist.protected_bytes
        figures |= self._gpu.measure()
        return NodeHealth(
            board.is_ready(), tuple(problems), figures, tuple(self._describe_cameras())
        )

    def _describe_cameras(self) -> Iterator[CameraHealth]:
        for name in self.cameras.configured:
            totals, meter = self.cameras.metrics.read_camera(name), self._ages.get(name)
            ages_s = meter.measure() if meter else None
            if totals is None:
                continue
            yield CameraHealth(
                name=name,
                age_s=ages_s[0] if ages_s else None,
                max_age_s=ages_s[1] if ages_s else None,
                lag_s=totals.lag_s,
                looked=totals.looked,
                dropped=totals.dropped,
                damaged=totals.damaged,
                reconnects=totals.reconnects,
            )


def _list_decided(said: Sequence[Classified]) -> dict[str, str]:
    """What classifiers are sure of: values by name."""
    return {each.name: each.value for each in said if each.value != UNDECIDED}


@dataclass(frozen=True, slots=True)
class Exporter:
    """Puts together what is kept."""

    archive: Archive
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _warnings: RepeatedWarnings = field(default_factory=lambda: RepeatedWarnings(log))

    def export(
        self, camera: str, began_s: float, ended_s: float, write: Callable[[bytes], None]
    ) -> None:
        """Write the video of a camera from one Unix time to another as fragmented MP4.

        Raises:
            LookupError: There is none, as of what is yet to come.
        """
        ended_s = min(ended_s, time.time())
        if began_s >= ended_s:
            raise LookupError("no video of that time is kept")
        files = self.archive.index.find_video(camera, began_s, ended_s)
        if any(file.kind is FileKind.CONTINUOUS for file in files):
            files = [file for file in files if file.kind is FileKind.CONTINUOUS]
        folder = self.archive.folder
        parts = [Part(folder / file.path, file.began_s, began_s, ended_s, folder) for file in files]
        try:
            join(parts, cast(BinaryIO, _Writer(write)), self._skip)
        except (StorageError, OSError) as error:
            raise LookupError("no video of that time is kept") from error

    def _skip(self, part: Part, error: Exception) -> None:
        why = (isinstance(error, OSError) and error.strerror) or error
        with self._lock:
            self._warnings.tell("export", f"{part.path} is left out of a video: {why}")
            self._warnings.sum_up()


@dataclass(frozen=True, slots=True)
class _Writer:
    put: Callable[[bytes], None]

    def write(self, data: bytes) -> int:
        """Hand on what is written."""
        self.put(bytes(data))
        return len(data)
