"""`edge people`: who is in the gallery."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.cli.application import application
from edge.cli.calibrate import calibrate
from edge.cli.options import (
    EMBEDDER,
    FACES,
    GALLERY,
    KEY,
    AsJson,
    EmbedderName,
    FacesName,
    GalleryPath,
    KeyPath,
    duplicate_limit,
    identity,
    load_models,
    open_gallery,
)
from edge.errors import EdgeError, GalleryError
from edge.people.enrollment.face_photo import read_face
from edge.people.gallery.encryption import load_key
from edge.people.gallery.export import export_person
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.records import Person, RecordState
from edge.people.recognition.face_quality import LOOK

app = application("Who is enrolled, and what is kept about them.")
app.command()(calibrate)

Who = Annotated[str, typer.Argument(metavar="NAME", help="A name, in any case, or an id.")]
Photo = Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture with one face.")]


@app.command("list")
def list_people(
    gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False
) -> None:
    """Everybody who is enrolled; with --json one object a line."""
    with open_gallery(gallery, key) as opened:
        people = opened.people()
    if as_json:
        for person in people:
            typer.echo(json.dumps(_as_tree(person), ensure_ascii=False))
        return
    table = Table("name", "templates", "look-alikes", "enrolled", "until", "state")
    for person in people:
        known = person.details
        cells = (known.name or person.id, str(known.templates), str(known.lookalikes),
                 _day(known.enrolled_s), known.until or "no end", str(person.state))  # fmt: skip
        table.add_row(*map(Text, cells))  # a name is no markup
    Console().print(table)


@app.command()
def show(
    name: Who, gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False
) -> None:
    """One person: dates, consent, how many templates."""
    with open_gallery(gallery, key) as opened:
        person = opened.find(name).person
    if as_json:
        typer.echo(json.dumps(_as_tree(person), ensure_ascii=False))
        return
    for label, value in _as_tree(person).items():
        shown = _moment(value) if label.endswith("_s") else value
        typer.echo(f"{label.removesuffix('_s')}: {shown}")


@app.command()
def rename(
    name: Who,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
) -> None:
    """Give a person another name; the id stays."""
    with open_gallery(gallery, key) as opened:
        person = opened.rename(name, new_name)
    typer.echo(f"{person.name} ({person.id})")


@app.command()
def forget(
    name: Who,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a person's key and with it all that is stored; for good."""
    with open_gallery(gallery, key) as opened:
        if not sure:
            typer.confirm(f"Forget {opened.find(name).person.name or name} for good?", abort=True)
        person = opened.forget(name)
    typer.echo(f"forgotten; the audit log knows {person}. Backups of the file still hold the data.")


@app.command()
def purge(gallery: GalleryPath = GALLERY, key: KeyPath = KEY) -> None:
    """Forget everybody whose retention date is over."""
    with open_gallery(gallery, key) as opened:
        names = opened.purge()
    typer.echo(f"forgotten: {', '.join(names) or 'nobody'}")


@app.command()
def export(
    name: Who,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file, not there yet.")],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
) -> None:
    """Write all that is stored about a person, templates too, into a file only you can read."""
    with open_gallery(gallery, key) as opened:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise EdgeError(f"{file}: {error.strerror}: choose another place") from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            try:
                json.dump(export_person(opened.store, name), out, ensure_ascii=False, indent=1)
            except EdgeError:
                file.unlink()
                raise
    typer.echo(f"{file}: not encrypted, delete it when it was handed over")


@app.command()
def audit(gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False) -> None:
    """What was done to the gallery, and whether that record is genuine: exit 78 when not."""
    with open_gallery(gallery, key) as opened:
        entries = opened.audit.entries()
        names = {person.id: person.name for person in opened.people()}
        if as_json:
            for entry in entries:
                typer.echo(json.dumps(asdict(entry)))
        else:
            table = Table("#", "when", "by", "what", "who", "detail")
            for entry in entries:
                who = names.get(entry.person) or entry.person
                cells = (str(entry.seq), _moment(entry.at_s), entry.actor, entry.action, who)
                table.add_row(*map(Text, (*cells, entry.detail)))
            Console().print(table)
        count = opened.audit.verify()
    if not as_json:
        typer.echo(f"genuine: {count} entries, {len(names)} people")


# --- with photographs ---------------------------------------------------------------------------


@app.command()
def verify(
    name: Who,
    photo: Photo,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: EmbedderName = EMBEDDER,
    faces: FacesName = FACES,
    as_json: AsJson = False,
) -> None:
    """Is this NAME? Exit 0 for the same person, 1 for another, 65 for an unusable PHOTO.

    A photograph is compared, not a living person: there is no liveness in it.
    """
    finder, described = load_models(faces, embedder)
    with Gallery(gallery, load_key(key), identity(described)) as opened:
        record = opened.find(name)
        person = record.person
        if person.state is not RecordState.ACTIVE:
            raise GalleryError(f"{person.name or person.id} is {person.state}: enrol again")
        found = described.embed(read_face(finder, photo, LOOK).crop[None])[0]
        similarity = float((record.own @ found).max())
        alike = bool(len(record.negatives)) and float((record.negatives @ found).max())
        same = similarity >= described.threshold and not alike >= similarity
        opened.audit.note_comparison(person.id, similarity, same=same)
    answer = {
        "id": person.id,
        "name": person.name,
        "similarity": round(similarity, 4),
        "threshold": round(described.threshold, 4),
        "same": same,
    }
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        verdict = "the same person" if same else "somebody else"
        typer.echo(f"{verdict}: similarity {similarity:.3f}, threshold {described.threshold:.3f}")
    if not same:
        raise typer.Exit(1)


@app.command("not")
def not_person(
    name: Who,
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Of the look-alike.")],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: EmbedderName = EMBEDDER,
    faces: FacesName = FACES,
) -> None:
    """Remember a look-alike: whoever resembles PHOTO more than NAME is not NAME."""
    finder, described = load_models(faces, embedder)
    with Gallery(gallery, load_key(key), identity(described)) as opened:
        crops = np.stack([read_face(finder, photo, LOOK).crop for photo in photos])
        embeddings = described.embed(crops)
        own = opened.find(name).own
        alike = float((own @ embeddings.T).max()) if own.shape[1:] == embeddings.shape[1:] else 0.0
        person = opened.add_negatives(name, embeddings)
    typer.echo(f"{person.name}: {person.details.lookalikes} pictures of look-alikes")
    if alike >= duplicate_limit(described.threshold):
        typer.echo(
            f"as alike ({alike:.2f}) as pictures of {person.name}: if that is who it shows, enrol "
            "again with --replace, which drops look-alikes",
            err=True,
        )


def _as_tree(person: Person) -> dict[str, object]:
    return {"id": person.id, **asdict(person.details), "state": str(person.state)}


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def _moment(at_s: object) -> str:
    moment = datetime.fromtimestamp(float(str(at_s)), UTC)
    return moment.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
