"""`edge people`: the people in the gallery."""

from __future__ import annotations

import json
import time
from collections.abc import Sized
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from edge.atomic_file import replace_file
from edge.cli import options
from edge.cli.application import application
from edge.cli.gallery_options import GALLERY, KEY, AsJson, GalleryPath, KeyPath
from edge.cli.later import Later
from edge.cli.options import load_models, open_gallery
from edge.cli.scope_check import warn_of_unknown
from edge.cli.table import make_table, to_cell
from edge.compat import UTC
from edge.errors import EdgeError, GalleryError
from edge.people.enrollment.enrollment import compute_duplicate_threshold
from edge.people.enrollment.face_photo import read_face
from edge.people.gallery.encryption import load_key
from edge.people.gallery.export import export_person
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.records import Person, RecordState
from edge.people.gallery.scope import parse_boxes
from edge.people.recognition.face_quality import LOOK
from edge.printable import escape_controls, format_count

COMMANDS = {
    "calibrate": Later(
        "edge.cli.calibrate:calibrate",
        "Measure the similarity threshold for names and store it in the gallery.",
    ),
    "why": Later(
        "edge.cli.why:why",
        "Show what a face at a running node lacks for a name: looks, liveness, votes, similarity.",
    ),
    "test": Later(
        "edge.cli.walk_through:walk_through",
        "Measure how long the person before a camera takes to be named, and what is missing till "
        "then.",
    ),
}
app = application("Manage enrolled people and what is stored about them.", COMMANDS)

Who = Annotated[str, typer.Argument(metavar="NAME", help="Name (in any case) or id.")]
Photo = Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture with one face.")]


@app.command("list")
def list_people(
    gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False
) -> None:
    """List the enrolled people and the boxes at which they are known; --json: an object per line.

    Look-alikes are templates of other people with whom a person must not be confused, added by
    `edge people not`.
    """
    with open_gallery(gallery, key) as opened:
        people, membership = opened.people(), opened.hub.membership()
    if membership and (why := membership.lease.explain(time.time())):
        typer.echo(f"no one is named: {why}", err=True)
    if as_json:
        for person in people:
            typer.echo(json.dumps(_to_json(person), ensure_ascii=False))
        return
    scope = ["boxes"] if any(person.details.boxes for person in people) else []
    table = make_table("name", "templates", "look-alikes", "enrolled", "until", "state", *scope)
    for person in people:
        details = person.details
        boxes = [", ".join(details.boxes)] if scope else []
        cells = (details.name or person.id, str(details.templates), str(details.lookalikes),
                 _format_day(details.enrolled_s), details.until or "no end",
                 str(person.state), *boxes)  # fmt: skip
        table.add_row(*map(to_cell, cells))
    Console().print(table)


@app.command()
def show(
    name: Who, gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False
) -> None:
    """Show one person: dates, consent, number of templates."""
    with open_gallery(gallery, key) as opened:
        person = opened.find(name).person
    if as_json:
        typer.echo(json.dumps(_to_json(person), ensure_ascii=False))
        return
    for label, value in _to_json(person).items():
        shown = _format_time(value) if label.endswith("_s") else value
        shown = ", ".join(value) if isinstance(value, list) else shown
        heading = "look-alikes" if label == "lookalikes" else label.removesuffix("_s")
        typer.echo(f"{heading}: {escape_controls(str(shown))}")


@app.command()
def scope(
    name: Who,
    boxes: Annotated[
        str,
        typer.Option(
            "--boxes", help='Boxes of the fleet, as in gate,door; * for all, "" for none.'
        ),
    ],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
) -> None:
    """Say at which boxes of a fleet a person's consent holds; edge hub people send tells them."""
    wanted = parse_boxes(boxes)
    with open_gallery(gallery, key) as opened:
        person = opened.set_scope(name, wanted)
    typer.echo(f"{person.name}: {', '.join(wanted) or 'no box'}")
    warn_of_unknown(gallery, wanted)


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
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Destroy a person's key, and with it all that is stored, for good."""
    with open_gallery(gallery, key) as opened:
        if not sure:
            typer.confirm(f"Forget {opened.find(name).person.name or name} for good?", abort=True)
        person = opened.forget(name)
    typer.echo(f"forgotten; the audit log keeps the id {person}. Backups still hold the data.")


@app.command()
def purge(gallery: GalleryPath = GALLERY, key: KeyPath = KEY) -> None:
    """Forget everybody whose retention date has passed."""
    with open_gallery(gallery, key) as opened:
        names = opened.purge()
    typer.echo(f"forgotten: {', '.join(names) or 'no one'}")


@app.command()
def export(
    name: Who,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new JSON file.")],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
) -> None:
    """Write all that is stored about a person, templates included, to a file only you can read."""
    if file.exists() or file.is_symlink():
        raise EdgeError("File exists: choose another path", file=file)
    with open_gallery(gallery, key) as opened:
        try:
            with replace_file(file, mode=0o600) as part:  # half an export is not kept
                person = export_person(opened.store, name)
                part.write_text(json.dumps(person, ensure_ascii=False, indent=1), encoding="utf-8")
        except OSError as error:
            raise EdgeError(f"{error.strerror}: choose another path", file=file) from error
    typer.echo(f"{file} is not encrypted: delete it once it has been handed over")


@app.command()
def audit(gallery: GalleryPath = GALLERY, key: KeyPath = KEY, as_json: AsJson = False) -> None:
    """Show what was done to the gallery and verify that record: exit 78 if it is not genuine."""
    with Gallery(gallery, load_key(key), inspect=True) as opened:
        entries = opened.audit.entries()
        names = {person.id: person.name for person in opened.people()}
        if as_json:
            for entry in entries:
                typer.echo(json.dumps(asdict(entry)))
        else:
            table = make_table("#", "time", "by", "action", "person", "detail")
            for entry in entries:
                who = names.get(entry.person) or entry.person
                cells = (str(entry.seq), _format_time(entry.at_s), entry.actor, entry.action, who)
                table.add_row(*map(to_cell, (*cells, entry.detail)))
            Console().print(table)
        verified = opened.audit.verify()
        with opened.store.reading_genuine():
            pass
    if not as_json:
        typer.echo(f"genuine: {format_count(verified, 'entry', 'entries')}, {_count(names)}")


@app.command()
def accept(
    head: Annotated[
        str, typer.Option(help='The head that the refusing program printed; "" if it had none.')
    ],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
) -> None:
    """Use a gallery that is an older copy or was changed by hand; recorded in the audit log.

    Look at its people afterwards: some may have been forgotten since the copy was made.
    """
    with Gallery(gallery, load_key(key), accept=head) as opened:
        people = opened.people()
    typer.echo(f"accepted, with {_count(people)}: see `edge people list`")


# --- with photos --------------------------------------------------------------------------------


@app.command()
def verify(
    name: Who,
    photo: Photo,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
    as_json: AsJson = False,
) -> None:
    """Check whether PHOTO shows NAME: exit 0 if so, 1 if not, 65 if the photo is unusable.

    It compares photos and does not check liveness.
    """
    finder, model = load_models(faces, embedder)
    with open_gallery(gallery, key, model) as opened:
        record = opened.find(name)
        person = record.person
        if person.state is not RecordState.ACTIVE:
            raise GalleryError(f"{person.name or person.id} is {person.state}: enroll again")
        face = read_face(finder, photo, LOOK, model.resampling)
        embedding = model.embed(face.crop[None])[0]
        similarity = float((record.own @ embedding).max())
        nearest_negative = bool(len(record.negatives)) and float(
            (record.negatives @ embedding).max()
        )
        same = similarity >= model.threshold and not nearest_negative >= similarity
        opened.audit.note_comparison(person.id, similarity, same=same)
    answer = {
        "id": person.id,
        "name": person.name,
        "similarity": round(similarity, 4),
        "threshold": round(model.threshold, 4),
        "same": same,
    }
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        verdict = "the same person" if same else "another person"
        typer.echo(f"{verdict}: similarity {similarity:.3f}, threshold {model.threshold:.3f}")
    if not same:
        raise typer.Exit(1)


@app.command("not")
def not_person(
    name: Who,
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="Photos of a similar person.")
    ],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
) -> None:
    """Add templates of a look-alike: faces nearer to PHOTO than to NAME are never named NAME."""
    finder, model = load_models(faces, embedder)
    with open_gallery(gallery, key, model) as opened:
        read = [read_face(finder, photo, LOOK, model.resampling) for photo in photos]
        embeddings = model.embed(np.stack([face.crop for face in read]))
        own = opened.find(name).own
        similarity = (
            float((own @ embeddings.T).max()) if own.shape[1:] == embeddings.shape[1:] else 0.0
        )
        person = opened.add_negatives(name, embeddings)
    stored = format_count(person.details.lookalikes, "template")
    typer.echo(f"{person.name}: {stored} of look-alikes")
    if similarity >= compute_duplicate_threshold(model.threshold):
        typer.echo(
            f"the photo is as similar ({similarity:.2f}) as one of {person.name}: if it shows "
            f"{person.name}, enroll again with --replace, which drops look-alikes",
            err=True,
        )


def _to_json(person: Person) -> dict[str, object]:
    details = asdict(person.details)
    boxes = details.pop("boxes")
    scope = {"boxes": list(boxes)} if boxes else {}  # galleries outside fleets have none
    return {"id": person.id, **details, **scope, "state": str(person.state)}


def _count(people: Sized) -> str:
    return format_count(len(people), "person", "people")


def _format_day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def _format_time(at_s: object) -> str:
    moment = datetime.fromtimestamp(float(str(at_s)), UTC)
    return moment.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
