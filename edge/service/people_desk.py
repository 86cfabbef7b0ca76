"""The people desk: enrolling, correcting and forgetting people for the page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from edge.config import Recognition
from edge.errors import EdgeError
from edge.models.embedder import ContractEmbedder
from edge.people.enrollment.enrollment import Enrollment
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import get_embedder_id
from edge.people.gallery.records import Person
from edge.people.recognition.face_quality import LOOK
from edge.ports import FaceFinder
from edge.recording.index import Index
from edge.recording.records import EventRecord, FileKind
from edge.recording.snapshot import cut_object
from edge.service.gallery_sync import resolve_gallery, resolve_key
from edge.vision.draw import save_picture
from edge.vision.image_file import read_picture
from edge.web.ports import Archive, EnrolledPerson

_PNG = b"\x89PNG"


@dataclass(frozen=True, slots=True)
class PeopleDesk:
    """Changes the gallery of a node; see `edge.web.ports.People`.

    Attributes:
        base: The folder of relative paths.
        archive: The pictures of events; None where none are kept.
        forget_in_events: Called with a person's id.
    """

    settings: Recognition
    base: Path
    finder: FaceFinder
    embedder: ContractEmbedder
    archive: Archive | None
    forget_in_events: Callable[[str], None]

    def list_people(self) -> Sequence[EnrolledPerson]:
        """Everybody."""
        with self._open() as gallery:
            return [_describe(person) for person in gallery.people()]

    def enroll_photo(self, name: str, photo: bytes, until: date | None) -> EnrolledPerson:
        """Enroll the one face in a JPEG or PNG, or add it to what is known of that person."""
        suffix = ".png" if photo.startswith(_PNG) else ".jpg"
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(photo)
            file.flush()
            return self._enroll(name, Path(file.name), until)

    def enroll_event(self, name: str, event_id: str, until: date | None) -> EnrolledPerson:
        """Enroll the face that the snapshot of an event shows."""
        with self._cut(event_id) as path:
            return self._enroll(name, path, until)

    def deny(self, person: str, event_id: str) -> None:
        """Never again take the face of that event for the person."""
        with self._open() as gallery, self._cut(event_id) as path:
            if person not in [known.id for known in gallery.people()]:
                raise LookupError("nobody has this id")
            try:
                face = read_face(self.finder, path, LOOK, self.embedder.resampling)
            except PhotoError as error:
                raise EdgeError(f"the picture of the event: {error.problem}") from None
            gallery.add_negatives(person, self.embedder.embed(np.stack([face.crop])))
        index, record = self._find(event_id)
        people = tuple(known for known in record.event.people if known.person != person)
        index.put_event(replace(record.event, people=people))

    def forget(self, person: str) -> None:
        """Destroy what is stored about a person, by id."""
        with self._open() as gallery:
            if person not in [known.id for known in gallery.people()]:
                raise LookupError("nobody has this id")
            gallery.forget(person)
        self.forget_in_events(person)

    @contextmanager
    def _open(self) -> Iterator[Gallery]:
        master = load_key(resolve_key(self.settings, self.base))
        path = resolve_gallery(self.settings, self.base)
        with Gallery(path, master, get_embedder_id(self.embedder)) as gallery:
            yield gallery

    def _enroll(self, name: str, path: Path, until: date | None) -> EnrolledPerson:
        with self._open() as gallery:
            enrollment = Enrollment(
                self.finder, self.embedder, gallery, until, replace=False, allow_duplicates=False
            )
            result = enrollment.add_photos(name, [path])
            if result.refused:
                raise EdgeError(f"the photo cannot be used: {result.refused[0].reason}")
            return _describe(gallery.find(name).person)

    def _find(self, event_id: str) -> tuple[Index, EventRecord]:
        record = self.archive.index.get_event(event_id) if self.archive else None
        if record is None or self.archive is None:
            raise LookupError("there is no such event")
        return self.archive.index, record

    @contextmanager
    def _cut(self, event_id: str) -> Iterator[Path]:
        """The object of an event as a picture file."""
        index, record = self._find(event_id)
        files = index.list_files(FileKind.SNAPSHOT, event_id=event_id)
        if not files or record.event.best is None or self.archive is None:
            raise LookupError("no picture of the event is kept")
        picture = read_picture(self.archive.folder / files[0].path)
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            save_picture(cut_object(picture.rgb, record.event.best), Path(file.name))
            yield Path(file.name)


def _describe(person: Person) -> EnrolledPerson:
    details = person.details
    return EnrolledPerson(
        person.id, details.name, details.templates, details.enrolled_s, details.until,
        str(person.state),
    )  # fmt: skip
