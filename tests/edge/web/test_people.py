"""People over a real server: enrolled with consent, denied, forgotten."""

import pytest

from edge.errors import GalleryError
from edge.people.enrollment.face_photo import PhotoError
from edge.web.people import MAX_PHOTO_BYTES
from edge.web.ports import EnrolledPerson
from tests.support.web_node import ANN, make_archive, make_event, make_node, serving


class Gallery:
    """A gallery of one that notes what is asked of it."""

    def __init__(self):
        self.asked = []

    def describe(self, name):
        return EnrolledPerson("p1", name, 3, 12.5, "", "active")

    def list_people(self):
        return [self.describe("Ann")]

    def enroll_photo(self, name, photo, until):
        if not photo.startswith(b"\xff\xd8"):
            raise PhotoError("the file is not a picture that OpenCV can decode")
        self.asked.append(("photo", name, len(photo), str(until)))
        return self.describe(name)

    def enroll_event(self, name, event_id, until):
        if name == "Bob":
            raise GalleryError("near-duplicate of Ann (similarity 0.91)")
        self.asked.append(("event", name, event_id))
        return self.describe(name)

    def deny(self, person, event_id):
        if person != "p1":
            raise LookupError(person)
        self.asked.append(("deny", person, event_id))

    def forget(self, person):
        if person != "p1":
            raise LookupError(person)
        self.asked.append(("forget", person))


@pytest.fixture
def gallery():
    return Gallery()


@pytest.fixture
def served(gallery, tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, people=(ANN,)))
    archive.index.put_event(make_event(2, people=(ANN,)))
    with serving(make_node(archive=archive, people=gallery)) as served:
        yield served


def enroll(served, query, body=b"\xff\xd8photo", kind="image/jpeg"):
    return served.ask(f"/api/v1/people/photo?{query}", "POST", body, content_type=kind)


def test_people_are_listed(served):
    assert served.ask("/api/v1/people").json == {
        "people": [
            {"person": "p1", "name": "Ann", "templates": 3, "enrolled_s": 12.5, "until": "",
             "state": "active"}
        ]
    }  # fmt: skip


def test_somebody_is_enrolled_from_a_photo_and_from_an_event(served, gallery):
    answer = enroll(served, "name=Ann%20Lee&consent=true&until=2999-01-31")
    assert answer.json["name"] == "Ann Lee"
    body = {"event": "e00001", "name": "Ann", "consent": True}
    assert served.ask("/api/v1/people/event", "POST", body).status == 200
    assert gallery.asked == [("photo", "Ann Lee", 7, "2999-01-31"), ("event", "Ann", "e00001")]


@pytest.mark.parametrize(
    ("query", "body", "kind", "status", "why"),
    [
        ("name=Ann", b"\xff\xd8", "image/jpeg", 422, "consent"),
        ("name=Ann&consent=true&until=2001-01-01", b"\xff\xd8", "image/jpeg", 422, "has passed"),
        ("name=Ann&consent=true&until=soon", b"\xff\xd8", "image/jpeg", 400, "until"),
        ("consent=true", b"\xff\xd8", "image/jpeg", 400, "name"),
        ("name=Ann&consent=true", b"no picture", "image/jpeg", 422, "not a picture"),
        ("name=Ann&consent=true", b"\xff\xd8", "text/html", 415, "image/png"),
        ("name=Ann&consent=true", bytes(MAX_PHOTO_BYTES + 1), "image/jpeg", 413, "larger"),
        ("name=" + "x" * 201 + "&consent=true", b"\xff\xd8", "image/jpeg", 400, "name"),
    ],
)
def test_who_cannot_be_enrolled_is_told_why(served, gallery, query, body, kind, status, why):
    answer = enroll(served, query, body, kind)
    assert answer.status == status
    assert why in answer.json["detail"]
    assert gallery.asked == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"event": "none", "name": "Ann", "consent": True}, 404),
        ({"event": "e00001", "name": "Ann"}, 422),
        ({"event": "e00001", "name": "Bob", "consent": True}, 422),
        ({"event": "e00001", "name": 5, "consent": True}, 400),
    ],
)
def test_an_event_that_shows_nobody_new_enrolls_nobody(served, gallery, body, status):
    assert served.ask("/api/v1/people/event", "POST", body).status == status
    assert gallery.asked == []


def test_this_is_not_ann(served, gallery):
    answer = served.ask("/api/v1/people/p1/denials", "POST", {"event": "e00001"})
    assert answer.json["people"] == []
    assert served.ask("/api/v1/events/e00001").json["people"] == []
    assert served.ask("/api/v1/events/e00002").json["people"] != []
    assert gallery.asked == [("deny", "p1", "e00001")]
    assert served.ask("/api/v1/people/p2/denials", "POST", {"event": "e00001"}).status == 404
    assert served.ask("/api/v1/people/p1/denials", "POST", {"event": "none"}).status == 404


def test_who_is_forgotten_has_no_name_in_any_event(served, gallery):
    assert served.ask("/api/v1/people/p1", "DELETE").status == 204
    for event in ("e00001", "e00002"):
        answer = served.ask(f"/api/v1/events/{event}")
        assert b"Ann" not in answer.body
    assert served.ask("/api/v1/people/p2", "DELETE").status == 404
    assert gallery.asked == [("forget", "p1")]


def test_a_node_that_recognizes_nobody_says_so():
    with serving(make_node()) as served:
        answer = served.ask("/api/v1/people")
        assert answer.status == 404
        assert "recognition.gallery" in answer.json["detail"]
