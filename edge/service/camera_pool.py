"""The camera pool: one thread per camera, added and removed while the daemon runs."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from edge import plugins
from edge.config import Camera
from edge.errors import ConfigError, locate
from edge.ports import CodedSource, SoundSource, Source, SparingSource
from edge.recording.main_pictures import Enlarger, MainPictures
from edge.recording.ring import PacketRing
from edge.service.archivist import RecordedCamera
from edge.service.backoff import Backoff
from edge.service.cameras import CameraLoop
from edge.service.frame_queue import FrameQueue
from edge.service.main_stream import MainStream
from edge.service.metrics import Metrics
from edge.service.workers import Worker, WorkerGroup
from edge.types import CameraStatus, Frame, FrameResult
from edge.vision.thumbnail import JpegSampler

log = logging.getLogger(__name__)

TOLD_S = 3.0  # from a trigger to the clip of it, on a busy machine or a slow disk
HANGS_AFTER_S = 60.0  # a source may block as long as its own timeouts


def _choose_keep_s(camera: Camera) -> float:
    """How far back packets are kept: for live video alone the last group of pictures is enough."""
    return camera.record.pre_s + TOLD_S if camera.events or camera.main else 0.0


def _count_epochs() -> Iterator[int]:
    return itertools.count(int(time.time() * 1000))  # grows across restarts


@dataclass(slots=True)
class CameraPool:
    """The cameras of a daemon, apart from its other workers: one that hangs is not its death."""

    frames: FrameQueue
    metrics: Metrics
    report: Callable[[CameraStatus], None]
    group: WorkerGroup = field(default_factory=lambda: WorkerGroup(HANGS_AFTER_S))
    _epochs: Iterator[int] = field(default_factory=_count_epochs)
    _rng: random.Random = field(default_factory=random.Random)  # of jitter
    _cameras: dict[str, tuple[CameraLoop, Worker]] = field(default_factory=dict)
    _samplers: dict[str, JpegSampler] = field(default_factory=dict)
    _mains: dict[str, Worker] = field(default_factory=dict)
    recorded: Mapping[str, RecordedCamera] = field(default_factory=dict)
    main_problems: Mapping[str, str] = field(default_factory=dict)
    sound_problems: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._cameras)

    @property
    def configured(self) -> dict[str, Camera]:
        """The cameras that run, by name."""
        return {name: loop.camera for name, (loop, _) in self._cameras.items()}

    @property
    def workers(self) -> list[Worker]:
        """Their threads."""
        return [*(worker for _, worker in self._cameras.values()), *self._mains.values()]

    def find_silent(self, silence_s: float) -> frozenset[str]:
        """The cameras whose threads have made no progress for that long."""
        workers = {name: worker for name, (_, worker) in self._cameras.items()}
        return frozenset(n for n, worker in workers.items() if worker.silence_s > silence_s)

    def add(self, camera: Camera, source: Source, main: Source | None = None) -> None:
        """Start a camera, and its main stream if it has one."""
        self._sample(camera)
        if unheeded := describe_unheeded(camera, source):
            log.warning("%s: %s", camera.name, unheeded)
        ring = main_ring = None
        if camera.record.audio:
            self._ask_for_sound(camera.name, main or source)
        if isinstance(source, CodedSource):
            ring = PacketRing(_choose_keep_s(camera))
            source.tap = ring.put
        if main:
            main_ring = PacketRing(_choose_keep_s(camera))
            report = partial(self._report_main, camera.name)
            stream = MainStream(camera.name, main, main_ring, Backoff(self._rng), report)
            self._mains[camera.name] = self.group.start(f"main {camera.name}", stream.run)
        self._record(RecordedCamera(camera, ring, main_ring))
        metrics, backoff = self.metrics.camera(camera.name), Backoff(self._rng)
        loop = CameraLoop(camera, source, self.frames, self._epochs, metrics, self.report, backoff)
        worker = self.group.start(f"camera {camera.name}", loop.run)
        self._cameras[camera.name] = (loop, worker)

    def adjust(self, camera: Camera) -> None:
        """Change the settings of a camera, but its source, while it runs."""
        loop, _ = self._cameras[camera.name]
        unheeded = describe_unheeded(camera, loop.source)
        if unheeded and unheeded != describe_unheeded(loop.camera, loop.source):
            log.warning("%s: %s", camera.name, unheeded)
        loop.camera = camera
        self._sample(camera)
        self._record(replace(self.recorded[camera.name], settings=camera))

    def _record(self, camera: RecordedCamera) -> None:
        for ring in (camera.source, camera.main):
            if ring:
                ring.keep_s = _choose_keep_s(camera.settings)
        self.recorded = {**self.recorded, camera.settings.name: camera}

    def _sample(self, camera: Camera) -> None:
        self._samplers.pop(camera.name, None)
        if camera.jpeg_hz:
            self._samplers[camera.name] = JpegSampler(camera.jpeg_hz, camera.jpeg_max_px)

    def remove(self, names: Sequence[str], deadline_s: float) -> None:
        """Stop cameras, wait for them until ``deadline_s``, and drop the frames that wait."""
        leaving = [self._cameras.pop(name)[1] for name in names]
        leaving += [self._mains.pop(name) for name in names if name in self._mains]
        self.group.remove(leaving, deadline_s)
        self.recorded = {n: camera for n, camera in self.recorded.items() if n not in names}
        self.main_problems = {n: why for n, why in self.main_problems.items() if n not in names}
        self.sound_problems = {n: why for n, why in self.sound_problems.items() if n not in names}
        for name in names:
            self.frames.forget(name)
            self._samplers.pop(name, None)

    def make_enlargers(self, known: Mapping[str, Enlarger]) -> dict[str, Enlarger]:
        """What takes faces from main streams, by camera; those that are known go on."""
        return {
            name: known.get(name) or Enlarger(MainPictures(camera.main))
            for name, camera in self.recorded.items()
            if camera.main and camera.settings.faces_from == "main"
        }

    def _report_main(self, camera: str, problem: str) -> None:
        self.metrics.main_up.labels(camera).set(0 if problem else 1)
        others = {name: why for name, why in self.main_problems.items() if name != camera}
        self.main_problems = others | ({camera: problem} if problem else {})

    def _ask_for_sound(self, camera: str, recorded: Source) -> None:
        if isinstance(recorded, SoundSource):
            recorded.on_sound = partial(self._report_sound, camera)
        else:
            self._report_sound(camera, "a source of this kind has none")

    def _report_sound(self, camera: str, problem: str) -> None:
        if problem and problem != self.sound_problems.get(camera):
            log.warning("%s: recorded without sound: %s", camera, problem)
        others = {name: why for name, why in self.sound_problems.items() if name != camera}
        self.sound_problems = others | ({camera: problem} if problem else {})

    def check(self) -> None:
        """Report cameras whose source hangs; the other cameras go on.

        Raises:
            WorkerError: A camera's thread died.
        """
        self.group.raise_death()
        for loop, worker in self._cameras.values():
            if not worker.is_alive():
                loop.report_hang(HANGS_AFTER_S)

    def note(self, result: FrameResult) -> None:
        """Take into account what a look at a camera's frame has found."""
        if known := self._cameras.get(result.frame.camera):
            known[0].note(result)

    def sample_jpeg(self, frame: Frame) -> bytes | None:
        """A thumbnail, when the frame's camera is due for one."""
        sampler = self._samplers.get(frame.camera)
        return sampler.sample(frame) if sampler else None


@dataclass(frozen=True, slots=True)
class CameraSources:
    """The streams of a camera."""

    source: Source
    main: Source | None = None


def create_sources(cameras: Sequence[Camera]) -> Mapping[str, CameraSources]:
    """The streams of each camera by the camera's name.

    Raises:
        ConfigError: One cannot be used as configured.
    """
    sources: dict[str, CameraSources] = {}
    for row, camera in enumerate(cameras):
        with locate(key=f"cameras[{row}].source"):
            source, main = create_source(camera), None
        if camera.main is not None:
            with locate(key=f"cameras[{row}].main"):
                main = create_main(camera.main)
        sources[camera.name] = CameraSources(source, main)
    return sources


def create_main(table: Mapping[str, Any]) -> Source:
    """A main stream.

    Raises:
        ConfigError: It cannot be used as configured, or only by decoding it.
    """
    source: Source = plugins.create("sources", table)
    if isinstance(source, CodedSource) and isinstance(source, SparingSource):
        return source
    why = (
        "is a recording, whose time is not that of source"
        if isinstance(source, CodedSource)
        else "sends no coded stream"
    )
    raise ConfigError(
        f"kind {table.get('kind')!r} {why}: main is a second stream of a live camera, rtsp or "
        "http; without main, clips and pictures are taken from source"
    )


def describe_unheeded(camera: Camera, source: Source) -> str:
    """Settings of how much to decode that a source does not heed; empty where there are none."""
    if isinstance(source, SparingSource):
        return ""
    keys = [
        key
        for key, table in (("decode", camera), ("decode_asleep", camera.motion))
        if key in table.model_fields_set and getattr(table, key) != "all"
    ]
    if not keys:
        return ""
    return (
        f"{' and '.join(keys)} {'has' if len(keys) == 1 else 'have'} no effect: a source of kind "
        f"{camera.source.get('kind')!r} is decoded whole; that is for rtsp and http"
    )


def create_source(camera: Camera) -> Source:
    """The source of a camera.

    Raises:
        ConfigError: It cannot be used as configured.
    """
    source: Source = plugins.create("sources", complete_source(camera))
    return source


def complete_source(camera: Camera) -> Mapping[str, Any]:
    """The table of a camera's source; a kind that is asked for pictures gets the camera's fps."""
    plugin = plugins.load("sources", str(camera.source.get("kind", "")))
    max_fps = getattr(plugin.options, "paced_by_camera", 0)
    return {"fps": min(camera.fps, max_fps), **camera.source} if max_fps else camera.source
