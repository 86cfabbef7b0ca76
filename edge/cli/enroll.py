"""`edge enroll`: people enter the gallery, by photographs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from edge.cli.gallery import (
    EMBEDDER,
    FACES,
    GALLERY,
    KEY,
    AsJson,
    EmbedderName,
    FacesName,
    GalleryPath,
    KeyPath,
    identity,
    load_models,
)
from edge.cli.media import PICTURES
from edge.cli.photos import PhotoError, read_face
from edge.errors import ConfigError
from edge.models.embedder import ContractEmbedder
from edge.people.gallery import Gallery
from edge.people.search import Index
from edge.people.vault import GalleryError, load_key
from edge.ports import FaceFinder
from edge.types import F32

# How far above the threshold of one person's pictures another person's are taken for a mistake,
# as a share of what is left to 1. Measured: 0 of 1186 television frames of 250 people.
DUPLICATE_SHARE = 0.4


def enroll(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Whom the photographs show.")] = "",
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO...]", help="Pictures with one face.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="DIR/NAME/*.jpg: many people.")
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
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the templates a person had before.")
    ] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Twins: take pictures that resemble others.")
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
    """Enrol NAME by PHOTOs, or everybody in a --folder.

    All usable photographs of a person are stored at once or not at all. Exit status 1 when
    somebody had no usable one.
    """
    batches = _batches(name, photos or [], folder)
    if not consent:
        raise GalleryError(
            "faces are enrolled with the person's consent only: ask, then give --consent"
        )
    master = load_key(key)
    finder, described = load_models(faces, embedder)
    day = until.date() if until else None
    with (
        Gallery(
            gallery, master, identity(described), create=True, change_embedder=change_embedder
        ) as opened,
        _progress() as progress,
    ):
        enrolment = Enrolment(finder, described, opened, day, replace, allow_duplicates)
        task = progress.add_task("", total=sum(len(files) for files in batches.values()))
        outcomes = []
        for who, files in batches.items():
            outcomes.append(enrolment.add(who, progress.track(files, task_id=task)))
    _report(outcomes, as_json)
    if not all(outcome.used for outcome in outcomes):
        raise typer.Exit(1)


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

    def _template(self, photo: Path, others: Index) -> F32:
        """``(D,)`` of the face in a photograph.

        Raises:
            PhotoError: there is no usable one, or it is somebody else's.
        """
        template: F32 = self.embedder.embed(read_face(self.finder, photo).crop[None])[0]
        match = others.search(template[None])
        threshold = self.embedder.threshold
        limit = threshold + DUPLICATE_SHARE * (1 - threshold)
        if match.similarity[0] >= limit and not self.allow_duplicates:
            other = others.people[match.person_row[0]].name
            raise PhotoError(
                f"{photo}: near-duplicate of {other} (similarity {match.similarity[0]:.2f})"
            )
        return template


def _batches(name: str, photos: Sequence[Path], folder: Path | None) -> dict[str, list[Path]]:
    """Photographs of each person.

    Raises:
        ConfigError: neither one person nor a folder of them, or both.
    """
    if folder is None:
        if not (name and photos):
            raise ConfigError("say whom and by what: edge enroll NAME PHOTO..., or --folder DIR")
        return {name: list(photos)}
    if name:
        raise ConfigError("give NAME PHOTO... or --folder DIR, not both")
    people = {
        person.name: sorted(p for p in person.iterdir() if p.suffix.lower() in PICTURES)
        for person in sorted(folder.iterdir())
        if person.is_dir()
    }
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
