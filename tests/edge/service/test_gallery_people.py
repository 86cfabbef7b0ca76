"""A real gallery as the page sees it."""

import cv2
import numpy as np
import pytest

from edge import plugins
from edge.config import Recognition
from edge.errors import EdgeError, GalleryError
from edge.event import BestView
from edge.models.contract import load_model
from edge.people.enrollment.face_photo import PhotoError
from edge.people.gallery.encryption import create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import get_embedder_id
from edge.recording.records import FileKind
from edge.service.gallery_people import GalleryPeople
from tests.support.models import color_embedder, constant_model
from tests.support.web_node import ANN, make_archive, make_event, store

POINTS = np.array([[[34, 38], [62, 38], [48, 54], [37, 70], [59, 70]]], np.float32)
FACE = np.array([[20, 16, 76, 84, 0.9, 0]], np.float32)
RED, BLUE = (200, 60, 60), (60, 60, 200)


def draw(color, side=96):
    grain = np.random.default_rng(0).normal(0, 30, (side, side, 1))
    rgb = np.clip(np.array(color) + grain, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


@pytest.fixture
def people(tmp_path):
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    outputs = {"detections": FACE, "landmarks": POINTS}
    finder_file, embedder_file = tmp_path / "faces.onnx", tmp_path / "embed.onnx"
    finder_file.write_bytes(constant_model("faces", outputs, ("face",), input_wh=(96, 96)))
    embedder_file.write_bytes(color_embedder())
    finder = load_model("faces", runtime, finder_file)
    embedder = load_model("embed", runtime, embedder_file)
    create_key_file(tmp_path / "key")
    key = load_key(str(tmp_path / "key"))
    Gallery(tmp_path / "gallery.db", key, get_embedder_id(embedder), create=True).close()
    settings = Recognition(gallery="gallery.db", key_file="key")
    folder = tmp_path / "storage"
    folder.mkdir()
    archive = make_archive(folder)
    best = BestView(1, "person", 0.9, (48.0, 0.0, 96.0, 96.0), (96, 96), 5.0)
    archive.index.put_event(make_event(1, people=(ANN,), best=best))
    store(archive, make_event(1), FileKind.SNAPSHOT, draw(BLUE, 192), "events/e00001.png")
    archive.index.put_event(make_event(2, best=None))
    yield GalleryPeople(settings, tmp_path, finder, embedder, archive)
    archive.index.close()


def test_somebody_is_enrolled_from_a_photo_which_is_not_kept_and_forgotten(
    people, tmp_path, monkeypatch
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    ann = people.enroll_photo("Ann", draw(RED), None)
    assert (ann.name, ann.templates, ann.state) == ("Ann", 1, "active")
    assert people.list_people() == [ann]
    people.forget(ann.person)
    assert people.list_people() == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_somebody_is_enrolled_from_the_snapshot_of_an_event(people):
    ann = people.enroll_event("Ann", "e00001", None)
    assert ann.templates == 1
    with pytest.raises(PhotoError, match="has no snapshot"):
        people.enroll_event("Ann", "e00002", None)
    with pytest.raises(PhotoError, match="near-duplicate of Ann"):
        people.enroll_photo("Bob", draw(BLUE), None)


def test_nobody_is_enrolled_from_what_a_snapshot_links_to_elsewhere(people, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(draw(RED, 192))
    snapshot = people.archive.folder / "events/e00001.png"
    snapshot.unlink()
    snapshot.symlink_to(outside)
    with pytest.raises(PhotoError, match="has no snapshot"):
        people.enroll_event("Ann", "e00001", None)
    assert people.list_people() == []


def test_nobody_is_enrolled_from_an_event_that_is_about_to_be_deleted(people):
    assert people.archive.index.doom("e00001")
    with pytest.raises(PhotoError, match="has no snapshot"):
        people.enroll_event("Ann", "e00001", None)


def test_a_face_that_is_not_theirs_is_remembered(people):
    ann = people.enroll_photo("Ann", draw(RED), None)
    people.deny(ann.person, "e00001")
    with people._open() as gallery:
        assert gallery.find("Ann").person.details.lookalikes == 1
    people.deny(ann.person, "e00002")  # whose face nobody can see


def test_what_cannot_be_done_is_said(people):
    ann = people.enroll_photo("Ann", draw(RED), None)
    with pytest.raises(PhotoError, match="not a picture"):
        people.enroll_photo("Bob", b"nothing", None)
    with pytest.raises(GalleryError, match="printable"):
        people.enroll_photo("\x1b[31m", draw(BLUE), None)
    for unknown in ("Ann", "p2", ""):
        with pytest.raises(LookupError):
            people.forget(unknown)
        with pytest.raises(LookupError):
            people.deny(unknown, "e00001")
    assert people.list_people() == [ann]
    assert issubclass(PhotoError, EdgeError)
