"""Events are explained one at a time, and each once."""

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge.errors import EdgeError
from edge.recording.records import FileKind
from edge.web.ports import Explained
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.web_node import make_archive, make_event, make_node, serving, store

JPEG = cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes()
PATH = "/api/v1/events/e00002/explanation"


class Explainer:
    """Answers when it may."""

    def __init__(self):
        self.asked, self.may_answer, self.began = [], threading.Event(), threading.Event()
        self.may_answer.set()

    def explain(self, picture, label, at):
        self.asked.append((picture.name, label, at))
        self.began.set()
        assert self.may_answer.wait(10)
        if label == "ghost":
            raise EdgeError("the picture cannot be explained: nobody is there")
        return Explained(b"jpeg", label, 0.9, 0.5, 0.75, 9, 9)


@pytest.fixture
def explainer():
    return Explainer()


@pytest.fixture
def archive(tmp_path):
    archive = make_archive(tmp_path)
    for number in range(4):
        archive.index.put_event(make_event(number, **({"best": None} if number == 1 else {})))
        if number:
            store(archive, make_event(number), FileKind.SNAPSHOT, JPEG)
    return archive


@pytest.fixture
def served(archive, explainer):
    with serving(make_node(archive=archive, explain=explainer.explain)) as served:
        yield served


def test_an_event_is_explained_once(served, explainer):
    answer = served.ask(PATH)
    assert answer.json == {
        "label": "person", "score": 0.9, "largest_loss": 0.5, "inside": 0.75, "patches": 9,
        "planned": 9,
    }  # fmt: skip
    picture = served.ask(f"{PATH}.jpg")
    assert picture.body == b"jpeg"
    assert picture.headers["content-type"] == "image/jpeg"
    [(_, label, at)] = explainer.asked
    assert label == "person"
    assert at == pytest.approx((150 / 640, 150 / 360))


def test_one_event_is_explained_at_a_time(served, explainer):
    explainer.may_answer.clear()
    first = threading.Thread(target=served.ask, args=(PATH,))
    first.start()
    assert explainer.began.wait(10)
    busy = served.ask("/api/v1/events/e00003/explanation")
    explainer.may_answer.set()
    first.join()
    assert (busy.status, busy.headers["retry-after"]) == (503, "10")
    assert "another event is being explained" in busy.body.decode()
    assert served.ask("/api/v1/events/e00003/explanation").status == 200


@pytest.mark.parametrize("number", [0, 1, 9])  # no picture, no object, no event
def test_what_shows_nothing_is_not_explained(served, explainer, number):
    assert served.ask(f"/api/v1/events/e0000{number}/explanation").status == 404
    assert not explainer.asked


def test_a_failure_is_told_and_not_kept(archive, explainer, served):
    ghost = make_event(2, best=replace(make_event(2).best, label="ghost"))
    archive.index.put_event(ghost)
    for _ in range(2):
        answer = served.ask(PATH)
        assert answer.status == 422
        assert "nobody is there" in answer.body.decode()
    assert len(explainer.asked) == 2


def test_a_viewer_may_and_a_stranger_may_not(archive, explainer, tmp_path):
    users = tmp_path / "users.toml"
    write_users(users, Users().put_user("vera", Role.VIEWER, "a password of hers"))
    node = make_node(archive=archive, explain=explainer.explain)
    with serving(node, users_file=str(users)) as served:
        assert served.ask(PATH).status == 401
    assert not explainer.asked


def test_a_node_without_a_detector_explains_nothing(archive):
    with serving(make_node(archive=archive)) as served:
        assert served.ask(PATH).status == 404
