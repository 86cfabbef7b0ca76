"""The gallery: a file that was changed is refused, or says what it said."""

import pytest

from edge.errors import GalleryError
from edge.people.gallery.gallery import Gallery
from tests.support.fuzzing import expect, fuzz, mutate
from tests.support.gallery import EMBEDDER, KEY, faces, open_new


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A gallery of two people."""
    path = tmp_path_factory.mktemp("gallery") / "gallery.db"
    with open_new(path) as gallery:
        gallery.enroll("Ann", faces(2, 1), consent=True)
        gallery.enroll("Ben", faces(1, 2), consent=True)
    return path


def look_through(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        names = {person.name for person in gallery.people()}
        gallery.index()
        gallery.audit.entries()
        gallery.audit.verify()
        return names


@fuzz(60, edit=mutate([b"\0" * 4096]), page=mutate([bytes(range(64))], most=1))
def test_a_changed_file(whole, tmp_path, edit, page):
    """A stretch is written over the file at a place of it; its size may change, too."""
    content = whole.read_bytes()
    at = int.from_bytes(page[:4].ljust(4, b"\0"), "big") % len(content)
    path = tmp_path / "gallery.db"
    for log in tmp_path.glob("gallery.db-*"):
        log.unlink()
    path.unlink(missing_ok=True)
    path.write_bytes(content[:at] + edit[:64] + content[at + 64 :])
    path.chmod(0o600)
    with expect(GalleryError):
        assert look_through(path) <= {"Ann", "Ben", ""}  # a record that cannot be read has none
