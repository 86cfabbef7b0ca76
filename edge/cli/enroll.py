"""`edge enroll`: people enter the gallery, by photographs or before a camera."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from edge import config_file
from edge.cli.cameras import open_source
from edge.cli.enroll_live import ChallengeError, LiveEnrolment, frames_of, guide
from edge.cli.media import PICTURES
from edge.cli.options import (
    EMBEDDER,
    FACES,
    GALLERY,
    KEY,
    LIVENESS,
    AsJson,
    EmbedderName,
    FacesName,
    GalleryPath,
    KeyPath,
    LivenessName,
    Places,
    duplicate_limit,
    identity,
    load_liveness_model,
    load_models,
)
from edge.config import Config, Recognition
from edge.errors import ConfigError, GalleryError
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment import challenge
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.enrollment.observer import Witness
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery, refuse_past
from edge.people.gallery.index import Index
from edge.people.gallery.names import fold_name, normalize_name
from edge.people.liveness.score_fusion import Demands
from edge.ports import FaceFinder, Source
from edge.types import F32


def enroll(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Who it is.")] = "",
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO...]", help="Pictures with one face.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="DIR/NAME/*.jpg: many people.")
    ] = None,
    camera: Annotated[
        str,
        typer.Option(
            metavar="CAMERA",
            help="NAME stands before it: a camera of --config, rtsp://.., /dev/video0, a file.",
        ),
    ] = "",
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="EDGE_CONFIG",
            metavar="FILE",
            help="The daemon's: its cameras; its gallery, key and models where none are given.",
        ),
    ] = None,
    consent: Annotated[
        bool, typer.Option("--consent", help="Everybody here agreed to it; required.")
    ] = False,
    until: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Last day to keep the data (UTC)."),
    ] = None,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: EmbedderName = EMBEDDER,
    faces: FacesName = FACES,
    liveness: LivenessName = LIVENESS,
    acts: Annotated[
        int, typer.Option(min=3, max=8, help="With --camera: how much the person is asked to do.")
    ] = 3,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the templates a person had before.")
    ] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Twins: take faces that resemble others.")
    ] = False,
    change_embedder: Annotated[
        bool,
        typer.Option(
            "--change-embedder",
            help="Move the gallery to this embedder; people count again once enrolled again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Enrol NAME by PHOTOs or before a --camera, or everybody in a --folder.

    Before a camera the person is led through a challenge in a random order, and must live. All
    usable photographs of a person are stored at once or not at all. Exit status 1 when somebody
    was not enrolled.
    """
    batches = _batches(name, photos or [], folder, camera)
    if not consent:
        raise GalleryError(
            "faces are enrolled with the person's consent only: ask, then give --consent"
        )
    day = until.date() if until else None
    refuse_past(day.isoformat() if day else "", time.time())
    name = normalize_name(name) if name else ""
    settings = config_file.load(configuration) if configuration else None
    places = Places(gallery, key, embedder, faces, liveness)
    if configuration and settings:
        places = places.completed(context, settings, configuration)
    master = load_key(places.key)
    source = open_source(camera, settings) if camera else None
    finder, described = load_models(places.faces, places.embedder)
    witness = _witness(places, finder, described, settings) if source else None
    with Gallery(
        places.gallery, master, identity(described), create=True, change_embedder=change_embedder
    ) as opened:
        enrolment = Enrolment(finder, described, opened, day, replace, allow_duplicates)
        if source and witness:
            outcomes = [_live(name, source, witness, enrolment, acts)]
        else:
            outcomes = _by_photographs(batches, enrolment)
    _report(outcomes, as_json)
    if not all(outcome.used for outcome in outcomes):
        raise typer.Exit(1)


def _by_photographs(batches: Mapping[str, list[Path]], enrolment: Enrolment) -> list[Outcome]:
    with _progress() as progress:
        task = progress.add_task("", total=sum(len(files) for files in batches.values()))
        return [
            enrolment.add(who, progress.track(files, task_id=task))
            for who, files in batches.items()
        ]


def _witness(
    places: Places, finder: FaceFinder, embedder: ContractEmbedder, settings: Config | None
) -> Witness:
    """Looks at who stands before the camera, as strictly as the daemon would.

    Raises:
        ModelError: there is no liveness model.
    """
    model = load_liveness_model(places.liveness)
    rules = settings.recognition if settings else None
    rules = rules or Recognition(gallery=str(places.gallery), key_file=places.key)
    demands = Demands(rules.live_score, rules.spoof_score, rules.live_window_s, motion=True)
    return Witness(finder, embedder, model, demands)


def _live(name: str, source: Source, witness: Witness, enrolment: Enrolment, acts: int) -> Outcome:
    """Lead one person through a challenge.

    Raises:
        ChallengeError: not passed. GalleryError: too many were not.
    """
    gallery = enrolment.gallery
    if wait_s := gallery.attempts.lock_s():
        raise ChallengeError(f"too many challenges failed: try again in {wait_s:.0f} s")
    rules = challenge.Rules(same=enrolment.embedder.threshold, acts=acts)
    attempt = challenge.Challenge(rules, SystemRandom())
    stop = threading.Event()
    with guide(name) as show, contextlib.closing(frames_of(source, stop)) as frames:
        live = LiveEnrolment(witness, attempt, gallery, show)
        templates = live.run(frames)
    return enrolment.add_live(name, templates)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A photograph that was not used, and why."""

    photo: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one person's photographs."""

    name: str
    used: int
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Enrols people by their photographs.

    Attributes:
        finder: finds their faces.
        embedder: describes them.
        gallery: takes them.
        until: last day to keep the data.
        replace: drop the templates a person had before.
        allow_duplicates: take pictures that resemble somebody else.
    """

    finder: FaceFinder
    embedder: ContractEmbedder
    gallery: Gallery
    until: date | None
    replace: bool
    allow_duplicates: bool

    def add(self, name: str, photos: Iterable[Path]) -> Outcome:
        """Enrol one person with all usable photographs, in one transaction."""
        others = self.gallery.index().without(name)
        used, refused = [], []
        for photo in photos:
            try:
                used.append(self._template(photo, others))
            except PhotoError as error:
                refused.append(Refusal(str(photo), str(error).removeprefix(f"{photo}: ")))
        if used:
            self.gallery.enroll(
                name,
                np.stack(used),
                consent=True,
                until=self.until,
                replace_templates=self.replace,
            )
        return Outcome(name, len(used), tuple(refused))

    def add_live(self, name: str, templates: F32) -> Outcome:
        """Enrol one person by ``(T, D)`` templates of a challenge that was passed.

        Raises:
            ChallengeError: it is somebody else's face.
        """
        others = self.gallery.index().without(name)
        for template in templates:
            if twin := self._duplicate(template, others):
                raise ChallengeError(f"nobody was enrolled: {twin}; twins: --allow-duplicates")
        self.gallery.enroll(
            name, templates, consent=True, until=self.until, replace_templates=self.replace
        )
        return Outcome(name, len(templates), ())

    def _template(self, photo: Path, others: Index) -> F32:
        """``(D,)`` of the face in a photograph.

        Raises:
            PhotoError: there is no usable one, or it is somebody else's.
        """
        template: F32 = self.embedder.embed(read_face(self.finder, photo).crop[None])[0]
        if twin := self._duplicate(template, others):
            raise PhotoError(f"{photo}: {twin}")
        return template

    def _duplicate(self, template: F32, others: Index) -> str:
        """Whose face ``(D,)`` is already there, in words; empty when nobody's."""
        match = others.search(template[None])
        limit = duplicate_limit(self.embedder.threshold)
        if self.allow_duplicates or not match.similarity[0] >= limit:
            return ""
        other = others.people[match.person_row[0]].name
        return f"near-duplicate of {other} (similarity {match.similarity[0]:.2f})"


def _batches(
    name: str, photos: Sequence[Path], folder: Path | None, camera: str
) -> dict[str, list[Path]]:
    """Photographs of each person; nobody's where a camera is to look.

    Raises:
        ConfigError: neither a person with one means nor a folder of people, or several.
        GalleryError: a name cannot be one.
    """
    given = [what for what in (photos, folder, camera) if what]
    if len(given) != 1 or bool(name) == bool(folder):
        raise ConfigError(
            "say whom and by what, once: edge enroll NAME PHOTO..., edge enroll NAME --camera "
            "CAMERA, or edge enroll --folder DIR"
        )
    if folder is None:
        return {normalize_name(name): list(photos)} if photos else {}
    people: dict[str, list[Path]] = {}
    for person in sorted(folder.iterdir()):
        if not person.is_dir():
            continue
        who = normalize_name(person.name)
        if fold_name(who) in map(fold_name, people):
            raise ConfigError(f"--folder {folder}: holds {who} twice: put the pictures into one")
        people[who] = sorted(p for p in person.iterdir() if p.suffix.lower() in PICTURES)
    if not people:
        raise ConfigError(f"--folder {folder}: has no folders named after people: DIR/NAME/*.jpg")
    return people


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        for outcome in outcomes:
            typer.echo(json.dumps(asdict(outcome), ensure_ascii=False))
        return
    table = Table(Column("refused", overflow="fold"), "why")
    for outcome in outcomes:
        for refusal in outcome.refused:
            table.add_row(Text(refusal.photo), Text(refusal.reason))
    if table.row_count:
        Console().print(table)
    for outcome in outcomes:
        if not outcome.used:
            typer.echo(f"not enrolled: {outcome.name}, no usable picture", err=True)
    people, used = sum(bool(o.used) for o in outcomes), sum(o.used for o in outcomes)
    typer.echo(f"enrolled {people} people with {used} pictures, refused {table.row_count}")
