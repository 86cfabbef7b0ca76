"""`edge check`: does a configuration work?"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edge import plugins
from edge.bounded_call import call_within
from edge.cli.configuration import load_configuration
from edge.cli.report import AsJsonLines, show_report
from edge.compat import Self
from edge.config import Camera, Config, Http, Recognition
from edge.config_file import locate_in
from edge.diagnostics.disk import check_disks
from edge.diagnostics.finding import Finding
from edge.errors import (
    ConfigError,
    EdgeError,
    ErrorCollector,
    GalleryError,
    StorageError,
    collect_errors,
)
from edge.events.obstacle import list_obstacles
from edge.models.classifier import ContractClassifier
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.opencv import advise_one_wheel, list_wheels
from edge.ports import SoundSource
from edge.printable import format_bytes, format_count
from edge.recording.archive import INDEX
from edge.recording.index import Index
from edge.recording.records import WORRYING_SHARE, describe_protected
from edge.service.camera_pool import create_main, create_source, describe_unheeded
from edge.service.gallery_sync import follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer, listen
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.service.send_queue import try_open
from edge.types import Decoding, StreamPacket
from edge.web.access import read_rules
from edge.wire.sink import Spools

MAIN_S = 15.0  # until a key frame of a main stream comes
SINK_S = 10.0  # a file system answers by then, or not at all


def check(
    configuration: Annotated[
        # Whether it can be read is said by what reads it.
        Path,
        typer.Argument(metavar="CONFIG", help="Configuration file (TOML).", readable=False),
    ],
    running: Annotated[
        bool,
        typer.Option(
            "--running", help="The node runs: that its addresses are in use is no failure."
        ),
    ] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Open every model, sink and camera of CONFIG once; exit with 0 if all work, else 78."""
    settings, models = load_configuration(configuration)
    with locate_in(configuration), collect_errors() as errors:
        findings = [
            *_check_opencv(list_wheels()),
            *_check_models(settings, models, configuration),
            *check_outputs(settings, errors, configuration.parent, running=running),
            *_check_storage(settings, configuration.parent),
            *_check_rules(settings),
            *_check_space(settings.sinks),
        ]
        with ThreadPoolExecutor(max_workers=16) as pool:
            findings += pool.map(_check_camera, settings.cameras)
            mains = [camera for camera in settings.cameras if camera.main is not None]
            findings += pool.map(_check_main, mains)
        show_report(findings, as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


def _check_opencv(wheels: Sequence[str]) -> Iterator[Finding]:
    """Warn of several; what they left may work."""
    if len(wheels) > 1:
        warning = (
            f"warning: {' and '.join(wheels)} overwrite each other: {advise_one_wheel(wheels)}"
        )
        yield Finding("opencv", True, warning)


def _check_models(settings: Config, models: ModelSet, path: Path) -> Iterator[Finding]:
    detector = models.detector
    yield Finding("models.detector", True, f"{detector.name}: {', '.join(detector.classes[:8])}")
    if models.faces:
        yield Finding("models.faces", True, models.faces.name)
    for attribute in settings.attributes:
        yield _check_classifier(f"attributes.{attribute.name}", models.classifiers[attribute.model])
    for camera in settings.cameras:
        for state in camera.states:
            part = f"cameras.{camera.name}.states.{state.name}"
            yield _check_classifier(part, models.classifiers[state.model])
    for name, why in models.manager.missing() if models.manager else ():
        yield Finding("runtime", True, f"{name} gets its engine when the daemon runs: {why}")
    if settings.recognition and models.embedder:
        yield _check_gallery(settings.recognition, models.embedder, models.liveness, path.parent)


def _check_classifier(part: str, model: ContractClassifier) -> Finding:
    return Finding(part, True, f"{model.name}: {', '.join(model.classes[:8])}")


def _check_gallery(
    settings: Recognition, embedder: ContractEmbedder, liveness: ContractLiveness | None, base: Path
) -> Finding:
    """Open the gallery as the daemon does."""
    part = "recognition.gallery"
    counts: list[int] = []
    problems: list[str] = []
    try:
        follow_gallery(
            settings, base, embedder, liveness, itertools.count(1), counts.append, problems.append
        )
    except GalleryError as error:
        return Finding(part, False, str(error))
    if problems[-1]:
        return Finding(part, False, problems[-1])
    detail = f"{format_count(counts[-1], 'person', 'people')} can be recognized"
    if liveness is None and settings.require_liveness:
        return Finding(part, False, f"{detail}, but no one is named without recognition.liveness")
    return Finding(part, True, detail)


def check_outputs(
    settings: Config, errors: ErrorCollector, base: Path = Path(), *, running: bool = False
) -> Iterator[Finding]:
    """HTTP and sinks; an error is a finding, and told with its line at the end as well.

    ``base`` is the folder of the configuration file; ``running`` allows addresses in use.
    """
    parts: list[tuple[str, Callable[[], Finding]]] = [
        ("http", lambda: _check_http(settings.http, base, running=running))
    ]
    for row, table in enumerate(settings.sinks):
        part = f"sinks[{row}]"
        parts.append((part, partial(_check_sink, part, table, running=running)))
    for part, check_part in parts:
        with errors.catch():
            try:
                finding = check_part()
            except ConfigError as error:
                yield Finding(part, False, error.problem)
                raise
            yield finding


def _check_http(options: Http, base: Path, *, running: bool) -> Finding:
    read_rules(options, base)
    HttpServer(options, Metrics(), HealthBoard())
    with _Busy(running=running) as busy:
        listen(options.host, options.port).close()
    return busy.to_finding("http", f"{options.host}:{options.port}")


def _check_storage(settings: Config, base: Path) -> Iterator[Finding]:
    """Look at the storage folder, and for what the configuration asks of it in vain."""
    storage, part = settings.storage, "storage"
    if storage is None:
        kept = [camera.name for camera in settings.cameras if camera.record.continuous]
        if kept:
            yield Finding(part, False, f"{', '.join(kept)} cannot record: add [storage]")
        return
    folder = base / storage.folder
    try:
        there = _find_nearest(folder)
    except OSError as error:
        yield Finding(part, False, f"{folder} cannot be used ({error.strerror}): choose another")
        return
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding(part, False, f"{there} is no folder that can be written: choose another")
        return
    free = shutil.disk_usage(there).free
    detail = f"{folder}: {format_bytes(storage.max_bytes)} at most, {format_bytes(free)} free"
    if free <= storage.min_free_bytes:
        detail += ", less than min_free_bytes: nothing would be kept for long"
        yield Finding(part, False, detail)
        return
    try:
        stored, protected = _measure_stored(folder)
    except StorageError as error:
        yield Finding(part, False, str(error))
        return
    usable = free + stored - storage.min_free_bytes
    if storage.max_bytes > usable:
        detail += (
            f"; warning: max_bytes is more than the disk can hold, {format_bytes(usable)} besides "
            "min_free_bytes: the oldest go earlier than it says"
        )
    share = protected / max(storage.max_bytes, 1)
    if share > WORRYING_SHARE:
        detail += f"; warning: {describe_protected(share)}"
    if not any(camera.events or camera.record.continuous for camera in settings.cameras):
        detail += "; warning: no camera has [[cameras.events]], so that nothing is kept"
    yield Finding(part, True, detail)


def _find_nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there; a link that leads nowhere is there.

    Raises:
        OSError: Nobody can tell: its name is too long, for instance.
    """
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def _measure_stored(folder: Path) -> tuple[int, int]:
    """The bytes of all files in a storage folder, and those of protected events."""
    if not (folder / INDEX).is_file():
        return 0, 0
    index = Index(folder / INDEX)
    try:
        return sum(index.sum_bytes().values()), index.sum_protected_bytes()
    finally:
        index.close()


def _check_rules(settings: Config) -> Iterator[Finding]:
    """Warn of triggers that never come."""
    for camera in settings.cameras:
        if obstacles := list_obstacles(camera, settings):
            detail = f"warning: {'; '.join(obstacles)}"
            yield Finding(f"cameras.{camera.name}.events", True, detail)


def _check_space(sinks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Warn of little space for files that sinks write."""
    paths = [table["path"] for table in sinks if table.get("path", "-") != "-"]
    for finding in check_disks(Path(path).absolute().parent for path in paths):
        if not finding.ok:
            yield Finding(finding.part, True, f"warning: {finding.detail}: {finding.hint}")


def _check_sink(
    part: str, table: Mapping[str, Any], timeout_s: float = SINK_S, *, running: bool = False
) -> Finding:
    sink = plugins.create("sinks", table)
    if isinstance(sink, Spools):
        return _check_spool(part, table["kind"], sink)
    try:
        with _Busy(running=running) as busy:
            call_within(timeout_s, lambda: try_open(sink, part))
    except TimeoutError:
        problem = f"it did not open within {timeout_s:g} s: check the mount of its path"
        return Finding(part, False, problem)
    return busy.to_finding(part, table["kind"])


def _check_spool(part: str, kind: str, sink: Spools) -> Finding:
    """Whether the server of a sink takes messages; if not, they wait, which is no error."""
    try:
        with sink.open():
            deadline_s = time.monotonic() + SINK_S
            while (problem := sink.look().problem) and time.monotonic() < deadline_s:
                time.sleep(0.05)
    except EdgeError as error:
        raise ConfigError(error.problem, key=part) from error
    if problem:
        return Finding(part, True, f"warning: {problem}: messages will wait in the spool")
    return Finding(part, True, kind)


class _Busy:
    """Catches that an address is in use, by the node itself perhaps; other errors pass."""

    def __init__(self, *, running: bool) -> None:
        self._problem, self._running = "", running

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        cause = error
        while cause is not None and getattr(cause, "errno", None) != errno.EADDRINUSE:
            cause = cause.__cause__
        if cause is not None:
            self._problem = f"{error}; a running node uses it itself"
        return cause is not None

    def to_finding(self, part: str, detail: str) -> Finding:
        works = self._running or not self._problem
        return Finding(part, works, self._problem or detail)


def _check_main(camera: Camera) -> Finding:
    """Wait for a key frame of a main stream."""
    part = f"cameras.{camera.name}.main"
    over, sizes = threading.Event(), list[int]()
    problem = f"no key frame came within {MAIN_S:g} s"

    def take(packet: StreamPacket) -> None:
        if packet.is_key:
            sizes.append(len(packet.data))
            over.set()

    timer = threading.Timer(MAIN_S, over.set)
    timer.start()
    started_s = time.monotonic()
    codec = ""
    try:
        source: Any = create_main(camera.main or {})
        source.tap, source.decoding = take, Decoding.NONE
        said = _ask_for_sound(source, camera)
        with source.connect(over) as captures:
            next(captures, None)
            codec = source.codec
    except EdgeError as error:
        problem = str(error)
    finally:
        timer.cancel()
    if not sizes:
        return Finding(part, False, problem)
    took_s = time.monotonic() - started_s
    detail = f"{source.address}: {codec}, first key frame in {took_s:.1f} s"
    return Finding(part, True, detail + _describe_sound(said))


def _ask_for_sound(source: object, camera: Camera) -> list[str]:
    """Have a source say what is wrong with its sound, where that is recorded."""
    said: list[str] = []
    if not camera.record.audio:
        return said
    if not isinstance(source, SoundSource):
        return ["a source of this kind has none"]
    source.tap = source.tap or (lambda _: None)
    source.on_sound = said.append
    return said


def _describe_sound(said: Sequence[str]) -> str:
    return f"; warning: recorded without sound: {said[-1]}" if any(said[-1:]) else ""


def _check_camera(camera: Camera) -> Finding:
    part = f"cameras.{camera.name}"
    stop = threading.Event()
    started_s = time.monotonic()
    try:
        source = create_source(camera)
        said = _ask_for_sound(source, camera) if camera.main is None else []
        with contextlib.ExitStack() as stack:
            captures = stack.enter_context(source.connect(stop))
            capture = next(captures, None)
    except EdgeError as error:
        return Finding(part, False, str(error))
    if capture is None:
        return Finding(part, False, f"{source.address} ended before its first frame")
    width, height = capture.picture.size_wh
    took_s = time.monotonic() - started_s
    detail = f"{source.address}: {width}x{height}, first frame in {took_s:.1f} s"
    unheeded = describe_unheeded(camera, source)
    detail += f"; warning: {unheeded}" if unheeded else ""
    return Finding(part, True, detail + _describe_sound(said))
