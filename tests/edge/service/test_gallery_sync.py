"""Recognition in the daemon: the gallery is followed while it changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import config_file
from edge.config import Recognition
from edge.errors import ModelError
from edge.people.gallery.encryption import GalleryError, create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.hub_copy import CopiedPerson
from edge.people.gallery.index import NO_PERSON
from edge.people.gallery.membership import Lease, Membership
from edge.people.gallery.metadata import EmbedderId
from edge.people.gallery.records import PersonDetails
from edge.people.recognition.threshold import Calibration, Tail
from edge.service.gallery_sync import GalleryFollower, create_recognizer, follow_gallery
from edge.service.model_set import ModelSet
from edge.service.workers import Worker
from tests.support.gallery import EMBEDDER, OTHER_EMBEDDER, Clock, faces
from tests.support.models import NOBODY, NOTHING, color_embedder, constant_model


class Described:
    """An embedder that is only asked who it is."""

    name, sha256, dimension = EMBEDDER.name, EMBEDDER.sha256, EMBEDDER.dimension
    threshold = 0.4


@pytest.fixture
def settings(tmp_path: Path) -> Recognition:
    create_key_file(tmp_path / "key")
    return Recognition.model_validate({"gallery": "g.db", "key_file": "key", "embedder": "e"})


def gallery(folder: Path, embedder: EmbedderId = EMBEDDER, **options: object) -> Gallery:
    return Gallery(folder / "g.db", load_key(str(folder / "key")), embedder, **options)


def soon(is_true: Callable[[], bool], within_s: float = 5) -> bool:
    until_s = time.monotonic() + within_s
    while not is_true() and time.monotonic() < until_s:
        time.sleep(0.02)
    return is_true()


@pytest.fixture
def following(settings, tmp_path):
    """The number of people, kept by a follower in a thread of its own."""
    with gallery(tmp_path, create=True) as opened:
        opened.enroll("Ada", faces(2), consent=True)
    counts: list[int] = []
    follower = follow_gallery(settings, tmp_path, Described(), None, iter(()), counts.append)
    died = threading.Event()
    worker = Worker("gallery", follower.run, lambda _: died.set())
    worker.start()
    yield counts, follower.recognizer
    worker.stop.set()
    assert worker.join(5)
    assert not died.is_set()


def test_who_is_enrolled_or_forgotten_is_noticed_without_a_restart(following, tmp_path):
    counts, _ = following
    assert counts[0] == 1
    with gallery(tmp_path) as opened:
        opened.enroll("Bob", faces(1, 7), consent=True)
        assert soon(lambda: counts[-1] == 2)
        opened.forget("Ada")
        assert soon(lambda: counts[-1] == 1)


def test_a_gallery_that_moves_to_another_embedder_names_nobody(following, tmp_path):
    counts, recognizer = following
    with gallery(tmp_path, OTHER_EMBEDDER, change_embedder=True) as opened:
        opened.enroll("Bob", faces(1, 7), consent=True)
    assert soon(lambda: counts[-1] == 0)
    assert soon(lambda: "another embedder" in str(recognizer._next_gallery.closed))


def test_a_gallery_that_is_lost_names_nobody_until_it_is_back(following, tmp_path):
    counts, recognizer = following
    (tmp_path / "g.db").rename(tmp_path / "away.db")
    assert soon(lambda: counts[-1] == 0)
    assert recognizer._next_gallery.closed
    (tmp_path / "away.db").rename(tmp_path / "g.db")
    assert soon(lambda: counts[-1] == 1)


def test_a_gallery_of_another_embedder_is_refused_at_the_start(settings, tmp_path):
    with gallery(tmp_path, OTHER_EMBEDDER, create=True) as opened:
        opened.enroll("Ada", faces(1), consent=True)
    with pytest.raises(GalleryError, match="change-embedder"):
        follow_gallery(settings, tmp_path, Described(), None, iter(()), print)


@pytest.mark.parametrize("liveness", ["missing.onnx", "faces.onnx", "noise.onnx"])
def test_a_missing_or_wrong_liveness_model_is_refused_at_the_start(tmp_path, liveness):
    faces = constant_model("faces", {"detections": NOTHING, "landmarks": NOBODY}, ("face",))
    (tmp_path / "faces.onnx").write_bytes(faces)
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    (tmp_path / "embedder.onnx").write_bytes(color_embedder())
    tree = {
        "models": {"detector": "zoo:detect-nano", "faces": "faces.onnx"},
        "recognition": {
            "gallery": "g.db", "key_file": "key", "embedder": "embedder.onnx",
            "liveness": liveness,
        },
        "cameras": [{"name": "door", "source": {"kind": "synthetic"}}],
    }  # fmt: skip
    with pytest.raises(ModelError, match=r"recognition\.liveness") as refusal:
        ModelSet.load(config_file.parse(tree), tmp_path)
    assert refusal.value.exit_code == 78


def test_who_may_not_be_named_any_longer_is_not_and_is_again_without_a_restart(
    settings, tmp_path, caplog
):
    """A box that hears nothing of its hub, by a clock that is set."""
    clock = Clock()
    with gallery(tmp_path, create=True, clock=clock) as opened:
        ada = CopiedPerson("ab" * 16, "", PersonDetails("Ada", 0, 0, "", 2, 0), faces(2), faces(0))
        opened.hub.put(Membership("hub", "g", "gate", 1, ""), [ada.id], [ada], EMBEDDER)
        counts, suspended, problems = [], [], []
        recognizer = create_recognizer(settings, Described(), None, (), None)
        follower = GalleryFollower(
            settings, tmp_path, Described(), recognizer,
            counts.append, problems.append, suspend=suspended.append, clock=clock,
        )  # fmt: skip
        worker = Worker("gallery", follower.run, print)
        worker.start()
        try:
            assert soon(lambda: suspended and "not allowed naming yet" in suspended[-1])
            opened.hub.renew(Lease(clock(), clock() + 3600))
            assert soon(lambda: counts[-1] == 1)
            index = recognizer._next_gallery.index
            assert index.people[index.search(faces(2)[:1]).person_row[0]].name == "Ada"
            clock.now_s += 3600
            assert soon(lambda: counts[-1] == 0)
            closed = recognizer._next_gallery
            assert "what the hub allowed ended" in str(closed.closed)
            assert closed.index.search(faces(2)[:1]).person_row[0] == NO_PERSON
            opened.hub.renew(Lease(clock(), clock() + 3600))
            assert soon(lambda: counts[-1] == 1)
            assert suspended[-1] == ""
            opened.hub.renew(Lease(clock() + 1, clock() + 60))  # a shorter one
            clock.now_s += 61
            assert soon(lambda: counts[-1] == 0)
        finally:
            worker.stop.set()
            assert worker.join(5)
    assert set(problems) == {""}  # the node is ready all the same
    assert caplog.text.count("what the hub allowed ended") == 2


def test_without_a_liveness_model_the_log_says_that_nobody_will_be_named(
    settings, tmp_path, caplog
):
    with gallery(tmp_path, create=True) as opened:
        opened.enroll("Ada", faces(1), consent=True)
    follow_gallery(settings, tmp_path, Described(), None, iter(()), lambda _: None)
    assert "no one will be named, because recognition.liveness is false" in caplog.text


def test_a_refused_gallery_names_no_one_and_ends_nothing(settings, tmp_path):
    with gallery(tmp_path, create=True) as opened:
        opened.enroll("Ada", faces(2), consent=True)
    (tmp_path / "g.db").chmod(0o644)
    problems: list[str] = []
    follower = follow_gallery(
        settings, tmp_path, Described(), None, iter(()), lambda _: None, problems.append
    )
    assert "accessible to other users" in problems[-1]
    (tmp_path / "g.db").chmod(0o600)
    follower.load()
    assert problems[-1] == ""


@pytest.mark.parametrize(
    ("of_tracks", "says"),
    [(True, ""), (False, "was calibrated with single pictures"), (None, "not")],
)
def test_a_gallery_calibrated_with_pictures_is_used_and_told(
    settings, tmp_path, caplog, of_tracks, says
):
    with gallery(tmp_path, create=True) as opened:
        opened.enroll("Ada", faces(2), consent=True)
        if of_tracks is not None:
            tail = Tail(0.23, 0.04, -0.1, 5000)
            opened.set_calibration(Calibration(tail, 0.01, of_tracks).values())
    counts: list[int] = []
    with caplog.at_level("WARNING"):
        follow_gallery(settings, tmp_path, Described(), None, iter(()), counts.append)
    assert counts == [1]
    told = [record.message for record in caplog.records if "calibrate" in record.message]
    assert (says in told[0]) if says else not told
