"""The people of a gallery as the page sees them: enrolled from photos and events, and forgotten."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from edge.config import Recognition
from edge.errors import SourceError
from edge.people.enrollment.enrollment import Enrollment
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.location import resolve_gallery, resolve_key
from edge.people.gallery.metadata import get_embedder_id
from edge.people.gallery.records import Person
from edge.people.recognition.face_quality import LOOK
from edge.ports import Embedder, FaceFinder
from edge.recording.records import FileKind
from edge.vision.draw import save_picture
from edge.vision.image_file import read_picture
from edge.vision.resize import crop, to_rgb
from edge.web import stored_files
from edge.web.ports import Archive, EnrolledPerson
from edge.web.problem import RequestError

MARGIN = 0.15  # of an object's size, around it in a snapshot


@dataclass(frozen=True, slots=True)
class GalleryPeople:
    """Opens the gallery for each call; the recognizer follows what changes in it.

    Attributes:
        settings: Where the gallery and its key are.
        base: The folder of relative paths.
        archive: Where snapshots of events are; None where none are kept.
    """

    settings: Recognition
    base: Path
    finder: FaceFinder
    embedder: Embedder
    archive: Archive | None

    def list_people(self) -> Sequence[EnrolledPerson]:
        """Everybody."""
        with self._open() as gallery:
            return [_describe(person) for person in gallery.people()]

    def enroll_photo(self, name: str, photo: bytes, until: date | None) -> EnrolledPerson:
        """Enroll the one face in a JPEG or PNG.

        Raises:
            EdgeError: The photo or the name cannot be used.
        """
        with _keep_for_a_moment(lambda path: path.write_bytes(photo)) as path:
            return self._enroll(name, path, until)

    def enroll_event(self, name: str, event_id: str, until: date | None) -> EnrolledPerson:
        """Enroll the face that the snapshot of an event shows.

        Raises:
            EdgeError: There is no snapshot, or its face cannot be used.
        """
        with self._take_object(event_id) as path:
            return self._enroll(name, path, until)

    def deny(self, person: str, event_id: str) -> None:
        """Never again take the face of that event for the person, if it can be seen.

        Raises:
            LookupError: There is no such person.
        """
        with self._open() as gallery:
            _require(gallery, person)
            try:
                with self._take_object(event_id) as path:
                    face = read_face(self.finder, path, LOOK, self.embedder.resampling)
            except PhotoError:
                return  # the name is withdrawn from the event, and there is no face to remember
            gallery.add_negatives(person, self.embedder.embed(face.crop[None]))

    def forget(self, person: str) -> None:
        """Destroy what is stored about a person.

        Raises:
            LookupError: There is no such person.
        """
        with self._open() as gallery:
            _require(gallery, person)
            gallery.forget(person)

    def _open(self) -> Gallery:
        key = load_key(resolve_key(self.settings, self.base))
        path = resolve_gallery(self.settings, self.base)
        return Gallery(path, key, get_embedder_id(self.embedder))

    def _enroll(self, name: str, path: Path, until: date | None) -> EnrolledPerson:
        with self._open() as gallery:
            enrollment = Enrollment(
                self.finder, self.embedder, gallery, until, replace=False, allow_duplicates=False
            )
            result = enrollment.add_photos(name, [path])
            if result.refused:
                raise PhotoError(f"nobody was enrolled: {result.refused[0].reason}")
            return _describe(gallery.find(name).person)

    @contextmanager
    def _take_object(self, event_id: str) -> Iterator[Path]:
        """The object of an event, cut out of its snapshot.

        Raises:
            PhotoError: There is no snapshot, or none of it can be read.
        """
        archive = self.archive
        record = archive.index.get_event(event_id) if archive else None
        if archive is None or record is None:
            raise PhotoError("the event has no snapshot")
        try:
            file = stored_files.find_file(archive, event_id, FileKind.SNAPSHOT)
            picture = read_picture(stored_files.resolve(archive, file))
        except RequestError as error:
            raise PhotoError("the event has no snapshot") from error
        except SourceError as error:
            raise PhotoError(f"the snapshot cannot be read: {error.problem}") from error
        rgb = picture.rgb
        if best := record.event.best:
            scale = np.tile(np.divide(picture.size_wh, best.size_wh), 2)
            x1, y1, x2, y2 = np.array(best.xyxy) * scale
            grow_x, grow_y = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
            corners = (x1 - grow_x, y1 - grow_y, x2 + grow_x, y2 + grow_y)
            rgb = to_rgb(crop(picture, *(round(float(corner)) for corner in corners))[0])
        with _keep_for_a_moment(lambda path: save_picture(rgb, path)) as path:
            yield path


@contextmanager
def _keep_for_a_moment(write: Callable[[Path], object]) -> Iterator[Path]:
    """A picture in a file that only this user can read, and that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        path = Path(folder) / "picture.png"
        write(path)
        yield path


def _require(gallery: Gallery, person: str) -> None:
    """Check that somebody has that id; a name is none.

    Raises:
        LookupError: Nobody has.
    """
    if all(each.id != person for each in gallery.people()):
        raise LookupError(person)


def _describe(person: Person) -> EnrolledPerson:
    details = person.details
    return EnrolledPerson(
        person.id, details.name, details.templates, details.enrolled_s, details.until,
        str(person.state),
    )  # fmt: skip
