"""The audit log: tampering shows."""

import json
import shutil
from pathlib import Path

import pytest

from edge.errors import GalleryError
from edge.people.gallery.export import export_person
from edge.people.gallery.gallery import Gallery
from tests.support.gallery import EMBEDDER, KEY, Clock, faces, open_new, tamper


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A gallery with five entries: create, enroll, enroll, rename, forget."""
    file = tmp_path_factory.mktemp("gallery") / "gallery.db"
    with open_new(file, clock=Clock()) as gallery:
        gallery.enroll("Ann", faces(1), consent=True)
        gallery.enroll("Bob", faces(1, seed=1), consent=True)
        gallery.rename("Bob", "Robert")
        gallery.forget("Ann")
    return file


@pytest.fixture
def path(original, tmp_path):
    """A copy of it."""
    return Path(shutil.copy(original, tmp_path))


def test_everything_that_is_done_is_written_down(path):
    with Gallery(path, KEY, EMBEDDER, clock=Clock()) as gallery:
        robert = gallery.find("Robert").person.id
        gallery.add_negatives("Robert", faces(2, seed=5))
        gallery.set_calibration({"threshold": 0.4})
        export_person(gallery.store, "Robert")
        gallery.audit.note_comparison(robert, 0.12345, same=False)
        entries = gallery.audit.entries()
        assert gallery.audit.verify() == len(entries) == 9
    assert [entry.action for entry in entries] == [
        "create", "enroll", "enroll", "rename", "forget",
        "lookalike", "calibrate", "export", "verify",
    ]  # fmt: skip
    assert [entry.seq for entry in entries] == list(range(1, 10))
    assert entries[-1].person == robert
    assert json.loads(entries[-1].detail) == {"same": False, "similarity": 0.123}
    assert entries[-1].actor.startswith("uid:")
    assert entries[-1].at_s == Clock().now_s


def test_names_are_not_in_it(path):
    with Gallery(path, KEY) as gallery:
        text = str(gallery.audit.entries())
    assert not any(name in text for name in ("Ann", "Bob", "Robert"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE audit SET detail = '{}' WHERE seq = 2", "at entry 2"),
        ("UPDATE audit SET at_s = at_s + 1 WHERE seq = 3", "at entry 3"),
        ("UPDATE audit SET action = 'export' WHERE seq = 5", "at entry 5"),
        ("UPDATE audit SET actor = x'00' WHERE seq = 4", "at entry 4"),
        ("UPDATE audit SET mac = 'text' WHERE seq = 1", "at entry 1"),
        ("DELETE FROM audit WHERE seq = 1", "at entry 1"),
        ("DELETE FROM audit WHERE seq = 3", "at entry 3"),
        ("DELETE FROM audit WHERE seq = 5", "cut off after entry 4"),
        ("DELETE FROM audit", "cut off after entry 0"),
        ("DELETE FROM audit_head", "cut off"),
        ("UPDATE audit SET seq = seq + 10 WHERE seq = 5", "at entry 5"),
        ("INSERT INTO audit SELECT 6, 0, actor, action, person, detail, mac FROM audit LIMIT 1",
         "at entry 6"),
        ("DELETE FROM person", "without an audit entry"),
        ("UPDATE person SET id = 'another'", "without an audit entry"),
    ],
)  # fmt: skip
def test_tampering_is_noticed_and_where(path, change, says):
    tamper(path, change)
    with Gallery(path, KEY, inspect=True) as gallery:
        with pytest.raises(GalleryError, match=says) as found:
            gallery.audit.verify()
        with pytest.raises(GalleryError):
            gallery.forget("Ann")
    assert found.value.exit_code == 78
    with pytest.raises(GalleryError, match=r"tampered with|cut off|without its key"):
        Gallery(path, KEY, EMBEDDER)


def test_the_log_can_be_read_even_when_it_was_tampered_with(path):
    tamper(path, "UPDATE audit SET action = x'ff', detail = 7")
    with Gallery(path, KEY, inspect=True) as gallery:
        assert len(gallery.audit.entries()) == 5


def test_a_chain_goes_on_after_reopening(path):
    for turn in range(3):
        with Gallery(path, KEY, EMBEDDER) as gallery:
            gallery.enroll(f"Carl {turn}", faces(1, seed=turn), consent=True)
            assert gallery.audit.verify() == 6 + turn
