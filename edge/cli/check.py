"""`edge check`: would this configuration work?"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge import config_file, plugins
from edge.config import Camera, Config, Recognition
from edge.config_file import locate_in
from edge.errors import ConfigError, EdgeError, GalleryError
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.pipeline import Pipeline
from edge.ports import Source
from edge.service.gallery_sync import follow_gallery
from edge.service.health import HealthBoard
from edge.service.http import HttpServer
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.service.send_queue import try_open


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one part of the configuration."""

    part: str
    works: bool
    says: str


def check(
    configuration: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Open each model, sink and camera of CONFIG once; exit 0 when all work, 78 otherwise."""
    settings = config_file.load(configuration)
    with locate_in(configuration):
        findings = [*_models(settings, configuration), *_outputs(settings)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        findings += pool.map(_camera, settings.cameras)
    if as_json:
        for finding in findings:
            typer.echo(json.dumps(asdict(finding)))
    else:
        _show(findings)
    if not all(finding.works for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


def _show(findings: list[Finding]) -> None:
    table = Table("part", "works", "says")
    for finding in findings:
        verdict = "[green]yes[/]" if finding.works else "[red]no[/]"
        table.add_row(finding.part, verdict, finding.says)
    Console().print(table)


def _models(settings: Config, path: Path) -> Iterator[Finding]:
    models = ModelSet.load(settings, path.parent)
    Pipeline(models.detector, models.faces, itertools.count(1)).watch(settings.cameras)
    detector = models.detector
    yield Finding("models.detector", True, f"{detector.name}: {', '.join(detector.classes[:8])}")
    if models.faces:
        yield Finding("models.faces", True, models.faces.name)
    for name, why in models.manager.missing() if models.manager else ():
        yield Finding("runtime", True, f"{name} gets an engine when the daemon runs: {why}")
    if settings.recognition and models.embedder:
        yield _gallery(settings.recognition, models.embedder, models.liveness, path.parent)


def _gallery(
    rules: Recognition,
    embedder: ContractEmbedder,
    liveness: ContractLiveness | None,
    base: Path,
) -> Finding:
    """The daemon's first look at the gallery."""
    part = "recognition.gallery"
    counts: list[int] = []
    try:
        follow_gallery(rules, base, embedder, liveness, itertools.count(1), counts.append)
    except GalleryError as error:
        return Finding(part, False, str(error))
    says = f"{counts[-1]} people can be recognised"
    if liveness is None and rules.require_liveness:
        return Finding(part, False, f"{says}, but nobody is named without recognition.liveness")
    return Finding(part, True, says)


def _outputs(settings: Config) -> Iterator[Finding]:
    HttpServer(settings.http, Metrics(), HealthBoard()).stop()
    yield Finding("http", True, f"{settings.http.host}:{settings.http.port}")
    for row, table in enumerate(settings.sinks):
        try_open(plugins.create("sinks", table), f"sinks[{row}]")
        yield Finding(f"sinks[{row}]", True, table["kind"])


def _camera(camera: Camera) -> Finding:
    part = f"cameras.{camera.name}"
    stop = threading.Event()
    started_s = time.monotonic()
    try:
        source: Source = plugins.create("sources", camera.source)
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
