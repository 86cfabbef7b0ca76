"""`edge check`: does a configuration work?"""

from __future__ import annotations

import contextlib
import errno
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Self

import typer

from edge import plugins
from edge.cli.configuration import load_configuration
from edge.cli.report import AsJsonLines, show_report
from edge.config import Camera, Config, Recognition
from edge.config_file import locate_in
from edge.diagnostics.host import Finding
from edge.errors import ConfigError, EdgeError, GalleryError
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.pipeline import Pipeline
from edge.service.camera_pool import create_source
from edge.service.gallery_sync import follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer, listen
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.service.send_queue import try_open


def check(
    configuration: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Configuration file (TOML).")
    ],
    as_json: AsJsonLines = False,
) -> None:
    """Open every model, sink and camera of CONFIG once; exit with 0 if all work, else 78."""
    settings, models = load_configuration(configuration)
    with locate_in(configuration):
        findings = [*_check_models(settings, models, configuration), *_check_outputs(settings)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        findings += pool.map(_check_camera, settings.cameras)
    show_report(findings, as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


def _check_models(settings: Config, models: ModelSet, path: Path) -> Iterator[Finding]:
    Pipeline(models.detector, models.faces, itertools.count(1)).check(settings.cameras)
    detector = models.detector
    yield Finding("models.detector", True, f"{detector.name}: {', '.join(detector.classes[:8])}")
    if models.faces:
        yield Finding("models.faces", True, models.faces.name)
    for name, why in models.manager.missing() if models.manager else ():
        yield Finding("runtime", True, f"{name} gets its engine when the daemon runs: {why}")
    if settings.recognition and models.embedder:
        yield _check_gallery(settings.recognition, models.embedder, models.liveness, path.parent)


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
    detail = f"{counts[-1]} {'person' if counts[-1] == 1 else 'people'} can be recognized"
    if liveness is None and settings.require_liveness:
        return Finding(part, False, f"{detail}, but no one is named without recognition.liveness")
    return Finding(part, True, detail)


def _check_outputs(settings: Config) -> Iterator[Finding]:
    HttpServer(settings.http, Metrics(), HealthBoard())
    with _Busy() as busy:
        listen(settings.http.host, settings.http.port).close()
    yield busy.to_finding("http", f"{settings.http.host}:{settings.http.port}")
    for row, table in enumerate(settings.sinks):
        with _Busy() as busy:
            try_open(plugins.create("sinks", table), f"sinks[{row}]")
        yield busy.to_finding(f"sinks[{row}]", table["kind"])


class _Busy:
    """Catches that an address is in use, by the node itself perhaps; other errors pass."""

    def __init__(self) -> None:
        self._problem = ""

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
        return Finding(part, not self._problem, self._problem or detail)


def _check_camera(camera: Camera) -> Finding:
    part = f"cameras.{camera.name}"
    stop = threading.Event()
    started_s = time.monotonic()
    try:
        source = create_source(camera)
        with contextlib.ExitStack() as stack:
            captures = stack.enter_context(source.connect(stop))
            capture = next(captures, None)
    except EdgeError as error:
        return Finding(part, False, str(error))
    if capture is None:
        return Finding(part, False, f"{source.address} ended before its first frame")
    width, height = capture.picture.size_wh
    took_s = time.monotonic() - started_s
    return Finding(part, True, f"{source.address}: {width}x{height}, first frame in {took_s:.1f} s")
