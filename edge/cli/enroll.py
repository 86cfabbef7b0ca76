"""`edge enroll`: enroll people from photos or in front of a camera."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edge import config_file
from edge.cli import options
from edge.cli.cameras import open_source
from edge.cli.enroll_live import guide, read_frames
from edge.cli.gallery_options import GALLERY, KEY, AsJson, GalleryPath, KeyPath
from edge.cli.options import GalleryOptions, load_liveness_model, load_models
from edge.cli.people_folder import PeopleFolder
from edge.cli.scope_check import warn_of_unknown
from edge.cli.table import make_table, to_cell
from edge.config import Config, Recognition
from edge.errors import ConfigError, SourceError
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment.capture_session import CaptureSession
from edge.people.enrollment.challenge import Challenge, ChallengeError, ChallengeRules
from edge.people.enrollment.enrollment import Enrollment, EnrollmentResult
from edge.people.enrollment.observer import EnrollmentObserver
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery, refuse_past, require_consent
from edge.people.gallery.metadata import get_embedder_id
from edge.people.gallery.names import normalize_name
from edge.people.gallery.scope import parse_boxes
from edge.people.liveness.evidence import LivenessPolicy
from edge.ports import FaceFinder, Source
from edge.printable import format_count
from edge.types import Motion


def enroll(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")] = "",
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO", help="Pictures of one face each.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Many people: DIR/NAME/*.jpg.")
    ] = None,
    camera: Annotated[
        str,
        typer.Option(
            metavar="CAMERA",
            help="NAME is in front of it: a camera of --config, rtsp://.., /dev/video0, a file.",
        ),
    ] = "",
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="EDGE_CONFIG",
            metavar="FILE",
            help="The daemon's configuration: cameras, and defaults of gallery, key and models.",
        ),
    ] = None,
    consent: Annotated[
        bool, typer.Option("--consent", help="All these people agreed to be enrolled; required.")
    ] = False,
    until: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Last day to keep the data (UTC)."),
    ] = None,
    boxes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Boxes of a fleet at which the consent holds, as in gate,door; * for all.",
        ),
    ] = None,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
    liveness: options.LivenessName = options.LIVENESS,
    acts: Annotated[
        int, typer.Option(min=3, max=8, help="With --camera: number of movements to ask for.")
    ] = 3,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the templates a person had before.")
    ] = False,
    allow_duplicates: Annotated[
        bool,
        typer.Option(
            "--allow-duplicates", help="Accept faces that resemble another person, such as twins."
        ),
    ] = False,
    allow_dissimilar: Annotated[
        bool,
        typer.Option(
            "--allow-dissimilar",
            help="Accept photos that do not resemble the person's other photos.",
        ),
    ] = False,
    change_embedder: Annotated[
        bool,
        typer.Option(
            "--change-embedder",
            help="Change the gallery to this embedder; everybody must be enrolled again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Enroll NAME from PHOTOs or in front of a --camera, or everybody in a --folder.

    In front of a camera the person is led through a challenge in random order and must be live.
    All usable photos of a person are stored at once or not at all. The exit status is 1 when
    somebody was not enrolled.
    """
    batches = _batches(name, photos or [], folder, camera)
    found = PeopleFolder().read(folder, "--folder") if folder else PeopleFolder()
    require_consent(given=consent)
    day = until.date() if until else None
    scope = None if boxes is None else parse_boxes(boxes)
    refuse_past(day.isoformat() if day else "", time.time())
    name = normalize_name(name) if name else ""
    settings = config_file.load(configuration) if configuration else None
    chosen = GalleryOptions(gallery, key, embedder, faces, liveness)
    if configuration and settings:
        chosen = chosen.with_defaults(context, settings, configuration)
    master = load_key(chosen.key)
    source = open_source(camera, settings) if camera else None
    finder, model = load_models(chosen.faces, chosen.embedder)
    observer = _make_observer(chosen, finder, model, settings) if source else None
    with Gallery(
        chosen.gallery, master, get_embedder_id(model), create=True,
        change_embedder=change_embedder,
    ) as opened:  # fmt: skip
        enrollment = Enrollment(
            finder, model, opened, day, replace, allow_duplicates, allow_dissimilar, scope
        )
        if source and observer:
            results = [_enroll_live(name, source, observer, enrollment, acts)]
        else:
            results = _enroll_photos(batches | found.people, enrollment) + found.refused
    found.tell_passed_over()
    warn_of_unknown(chosen.gallery, scope or ())
    _report(results, as_json)
    if not all(result.used for result in results):
        raise typer.Exit(1)


def _enroll_photos(
    batches: Mapping[str, list[Path]], enrollment: Enrollment
) -> list[EnrollmentResult]:
    with _make_progress() as progress:
        task = progress.add_task("", total=sum(len(files) for files in batches.values()))
        return [
            enrollment.add_photos(name, progress.track(files, task_id=task))
            for name, files in batches.items()
        ]


def _make_observer(
    chosen: GalleryOptions, finder: FaceFinder, embedder: ContractEmbedder, settings: Config | None
) -> EnrollmentObserver:
    """An observer as strict as the daemon.

    Raises:
        ModelError: There is no liveness model.
    """
    model = load_liveness_model(chosen.liveness)
    rules = settings.recognition if settings else None
    rules = rules or Recognition(gallery=str(chosen.gallery), key_file=chosen.key)
    policy = replace(LivenessPolicy.from_settings(rules), motion=Motion.ALWAYS)
    return EnrollmentObserver(finder, embedder, model, policy)


def _enroll_live(
    name: str, source: Source, observer: EnrollmentObserver, enrollment: Enrollment, acts: int
) -> EnrollmentResult:
    """Lead one person through a challenge.

    Raises:
        ChallengeError: It was not passed.
        GalleryError: Too many were not passed lately.
    """
    gallery = enrollment.gallery
    if wait_s := gallery.attempts.lock_s():
        raise ChallengeError(f"too many challenges failed: try again in {wait_s:.0f} s")
    rules = ChallengeRules(enrollment.embedder.threshold, acts=acts)
    challenge = Challenge(rules, SystemRandom())
    stop = threading.Event()
    with guide(name) as show, contextlib.closing(read_frames(source, stop)) as frames:
        try:
            templates = CaptureSession(observer, challenge, gallery, show).run(frames)
        except SourceError as error:
            raise ChallengeError(f"no one was enrolled: {error}") from error
    return enrollment.add_live(name, templates)


def _batches(
    name: str, photos: Sequence[Path], folder: Path | None, camera: str
) -> dict[str, list[Path]]:
    """The photos of the one person that is named; empty with a camera or a folder.

    Raises:
        ConfigError: The arguments name no source of faces, or several.
        GalleryError: A name is invalid.
    """
    given = [source for source in (photos, folder, camera) if source]
    if len(given) != 1 or bool(name) == bool(folder):
        raise ConfigError("give exactly one of: NAME PHOTO..., NAME --camera CAMERA, --folder DIR")
    if photos and Path(name).is_file():
        raise ConfigError(f"{name} is a file: the name comes first, as in `edge enroll Ann {name}`")
    for photo in photos:
        if photo.is_dir():
            raise ConfigError(
                f"{photo} is a folder: give its photos, as in `edge enroll {name} {photo}/*.jpg`; "
                "--folder enrolls many people, each from a folder of its own"
            )
    return {normalize_name(name): list(photos)} if photos else {}


def _make_progress() -> Progress:
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report(results: Sequence[EnrollmentResult], as_json: bool) -> None:
    if as_json:
        for result in results:
            typer.echo(json.dumps(asdict(result), ensure_ascii=False))
        return
    table = make_table("refused", "why")
    for result in results:
        for photo in result.refused:
            table.add_row(to_cell(photo.photo), to_cell(photo.reason))
    if table.row_count:
        Console().print(table)
    for result in results:
        if not result.used:
            typer.echo(f"not enrolled: {result.name}, no usable picture", err=True)
    people, used = sum(bool(r.used) for r in results), sum(r.used for r in results)
    typer.echo(
        f"enrolled {format_count(people, 'person', 'people')} with "
        f"{format_count(used, 'picture')}, refused {table.row_count}"
    )
