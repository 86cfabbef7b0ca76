"""Events over a real server: lists, filters, pages, files, and what must not be answered."""

import cv2
import numpy as np
import pytest

from edge.event import Severity
from edge.recording.records import FileKind, StoredFile
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.web_node import ANN, make_archive, make_event, make_node, serving, store

JPEG = cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture
def kept(tmp_path):
    archive = make_archive(tmp_path)
    for number in range(5):
        event = make_event(number, people=(ANN,) if number == 3 else ())
        if number == 4:
            event = make_event(4, camera="yard", severity=Severity.ALERT, labels=("car",),
                               places=("gate",), ended_s=None, best=None)  # fmt: skip
        archive.index.put_event(event)
    archive.index.mark_seen(["e00001"])
    store(archive, make_event(2), FileKind.CLIP, bytes(range(256)) * 40)
    store(archive, make_event(2), FileKind.SNAPSHOT, JPEG)
    store(archive, make_event(2), FileKind.THUMBNAIL, JPEG)
    return archive


@pytest.fixture
def served(kept):
    with serving(make_node(archive=kept)) as served:
        yield served


def list_ids(served, query=""):
    answer = served.ask(f"/api/v1/events{query}")
    assert answer.status == 200, answer.body
    return [event["id"][-1] for event in answer.json["events"]]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", "43210"),
        ("?camera=door", "3210"),
        ("?camera=door&camera=yard", "43210"),
        ("?label=car", "4"),
        ("?place=entrance", "3210"),
        ("?person=p1", "3"),
        ("?severity=alert", "4"),
        ("?after=1002&before=1004", "32"),
        ("?seen=true", "1"),
        ("?seen=0&camera=door", "320"),
        ("?camera=nobody", ""),
        ("?limit=2", "43"),
    ],
)
def test_events_are_filtered(served, query, ids):
    assert list_ids(served, query) == list(ids)


def test_pages_follow_each_other_and_end(served):
    first = served.ask("/api/v1/events?limit=2").json
    second = served.ask(f"/api/v1/events?limit=2&cursor={first['next']}").json
    third = served.ask(f"/api/v1/events?limit=2&cursor={second['next']}").json
    ids = [event["id"][-1] for page in (first, second, third) for event in page["events"]]
    assert ids == list("43210")
    assert third["next"] == ""


def test_an_event_says_what_is_kept_of_it(served):
    event = served.ask("/api/v1/events/e00002").json
    assert event["files"] == ["clip", "snapshot", "thumbnail"]
    assert event["best"]["xyxy"] == [100.0, 50.0, 200.0, 250.0]
    assert served.ask("/api/v1/events/e00003").json["people"] == [{"person": "p1", "name": "Ann"}]
    assert served.ask("/api/v1/events/e00004").json["ended_s"] is None


def test_an_event_is_marked_as_seen_and_as_unseen(served):
    assert served.ask("/api/v1/events/e00003/seen", "PUT", {"seen": True}).json["seen"] is True
    assert list_ids(served, "?seen=true") == ["3", "1"]
    served.ask("/api/v1/events/e00003/seen", "PUT", {"seen": False})
    assert list_ids(served, "?seen=true") == ["1"]


def test_an_event_is_protected_and_no_longer(served, kept):
    path = "/api/v1/events/e00002/protected"
    assert served.ask(path, "PUT", {"protected": True}).json["protected"] is True
    assert list_ids(served, "?protected=true") == ["2"]
    refused = served.ask("/api/v1/events/e00002", "DELETE")
    assert refused.status == 409
    assert "protected" in refused.json["detail"]
    assert served.ask(path, "PUT", {"protected": False}).json["protected"] is False
    assert list_ids(served, "?protected=true") == []
    assert served.ask("/api/v1/events/none/protected", "PUT", {"protected": True}).status == 404
    assert served.ask(path, "PUT", {"protected": 3}).status == 400


def test_an_event_that_is_deleted_is_seen_by_nobody_from_then_on(served, kept):
    assert served.ask("/api/v1/events/e00002", "DELETE").status == 204
    assert list_ids(served) == list("4310")
    for path in ("", "/clip.mp4", "/snapshot.jpg", "/thumbnail.jpg"):
        assert served.ask(f"/api/v1/events/e00002{path}").status == 404
    assert served.ask("/api/v1/events/e00002", "DELETE").status == 404
    assert kept.index.list_doomed() == ["e00002"]
    refused = served.ask("/api/v1/events/e00004", "DELETE")
    assert refused.status == 409
    assert "going on" in refused.json["detail"]


@pytest.mark.parametrize("role", ["viewer", "enroller"])
def test_only_admins_delete_and_protect_and_no_foreign_page_does(kept, tmp_path, role):
    users = tmp_path / "users.toml"
    rights = Users().put_user("ada", Role.ADMIN, "long enough")
    write_users(users, rights.put_user("ben", Role(role), "long enough"))
    with serving(make_node(archive=kept), users_file=str(users)) as served:

        def log_in(name):
            login = {"user": name, "password": "long enough"}
            answer = served.ask("/api/v1/session", "POST", login)
            return answer.headers["set-cookie"].partition(";")[0]

        for name, status in (("ben", 403), ("ada", 200)):
            cookie = log_in(name)
            asked = ("/api/v1/events/e00002/protected", "PUT", {"protected": False})
            foreign = served.ask(*asked, cookie=cookie, origin="http://evil.example")
            assert foreign.status == 403
            assert served.ask(*asked, cookie=cookie).status == status
        assert served.ask("/api/v1/events/e00002", "DELETE", cookie=log_in("ben")).status == 403
        assert served.ask("/api/v1/events/e00002", "DELETE").status == 401
        answer = served.ask("/api/v1/events/e00002", "DELETE", cookie=log_in("ada"))
        assert answer.status == 204


def test_a_clip_comes_whole_and_in_ranges(served):
    content = bytes(range(256)) * 40
    whole = served.ask("/api/v1/events/e00002/clip.mp4")
    assert (whole.status, whole.body) == (200, content)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    part = served.ask("/api/v1/events/e00002/clip.mp4", range="bytes=100-299")
    assert (part.status, part.body) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    end = served.ask("/api/v1/events/e00002/clip.mp4", range="bytes=-10")
    assert (end.status, end.body) == (206, content[-10:])
    beyond = served.ask("/api/v1/events/e00002/clip.mp4", range="bytes=99999999-")
    assert beyond.status == 416
    kept = served.ask("/api/v1/events/e00002/clip.mp4?download=1")
    assert kept.headers["content-disposition"] == 'attachment; filename="door-e00002.mp4"'


def test_a_snapshot_comes_as_it_is_kept_or_with_boxes_or_smaller(served):
    assert served.ask("/api/v1/events/e00002/snapshot.jpg").body == JPEG
    assert served.ask("/api/v1/events/e00002/thumbnail.jpg").body == JPEG
    marked = served.ask("/api/v1/events/e00002/snapshot.jpg?boxes=1")
    picture = cv2.imdecode(np.frombuffer(marked.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3)
    assert np.abs(picture[150, 100].astype(int) - 90).max() > 30  # on the left edge of the box
    assert np.abs(picture[150, 400].astype(int) - 90).max() < 10
    small = served.ask("/api/v1/events/e00002/snapshot.jpg?height=90")
    assert cv2.imdecode(np.frombuffer(small.body, np.uint8), 1).shape == (90, 160, 3)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/events?limit=0", 400),
        ("/api/v1/events?limit=501", 400),
        ("/api/v1/events?limit=many", 400),
        ("/api/v1/events?limit=1&limit=2", 400),
        ("/api/v1/events?after=yesterday", 400),
        ("/api/v1/events?after=nan", 400),
        ("/api/v1/events?before=inf", 400),
        ("/api/v1/events?severity=high", 400),
        ("/api/v1/events?seen=perhaps", 400),
        ("/api/v1/events?colour=red", 400),
        ("/api/v1/events?cursor=%00", 400),
        ("/api/v1/events?cursor=bmFuOmU", 400),
        ("/api/v1/events?cursor=YWJj", 400),
        ("/api/v1/events?label=" + "x" * 201, 400),
        ("/api/v1/events/none", 404),
        ("/api/v1/events/none/clip.mp4", 404),
        ("/api/v1/events/e00001/clip.mp4", 404),
        ("/api/v1/events/e00002/snapshot.jpg?height=-1", 400),
        ("/api/v1/events/..%2f..%2fetc%2fpasswd/clip.mp4", 404),
        ("/api/v1/events/%2e%2e/clip.mp4", 404),
        ("/api/v1/events/e00002%00/clip.mp4", 404),
        ("/api/v1/nothing", 404),
    ],
)
def test_what_cannot_be_served_is_a_problem_in_json(served, path, status):
    answer = served.ask(path)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["type"] == "about:blank"
    assert answer.json["title"]
    assert answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "body", "headers", "status"),
    [
        ("PUT", {"seen": "yes"}, {}, 400),
        ("PUT", {"seen": True, "more": 1}, {}, 400),
        ("PUT", {}, {}, 400),
        ("PUT", b"{", {"content_type": "application/json"}, 400),
        ("PUT", b"[" * 100_000, {"content_type": "application/json"}, 400),
        ("PUT", b"seen=true", {"content_type": "application/x-www-form-urlencoded"}, 415),
        ("PUT", b" " * 300_000, {"content_type": "application/json"}, 413),
        ("POST", {"seen": True}, {}, 405),
        ("DELETE", None, {}, 405),
    ],
)
def test_a_change_that_is_none_is_refused_and_changes_nothing(
    served, method, body, headers, status
):
    answer = served.ask("/api/v1/events/e00003/seen", method, body, **headers)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert list_ids(served, "?seen=true") == ["1"]


@pytest.mark.parametrize(
    "path",
    [
        "../outside.mp4",
        "/etc/hostname",
        "link.mp4",
        "gone.mp4",
        ".",
        "inside.mp4",
        "linked/own.mp4",
    ],
)
def test_no_file_outside_the_folder_is_served(tmp_path, path):
    folder = tmp_path / "storage"
    folder.mkdir()
    archive = make_archive(folder)
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(outside)
    (folder / "inside.mp4").symlink_to("index.db")
    (folder / "own").mkdir()
    (folder / "own" / "own.mp4").write_bytes(b"secret")
    (folder / "linked").symlink_to("own")
    archive.index.put_event(make_event(1))
    kept = store(archive, make_event(1), FileKind.CLIP, b"video")
    archive.index.delete_files([str(kept.relative_to(folder))])
    archive.index.put_file(StoredFile(path, FileKind.CLIP, "door", "e00001", 1.0, 2.0, 5))
    with serving(make_node(archive=archive)) as served:
        answer = served.ask("/api/v1/events/e00001/clip.mp4")
        assert answer.status == 404
        assert b"secret" not in answer.body
        assert b"SQLite" not in answer.body


def test_a_node_that_keeps_nothing_says_so():
    with serving(make_node()) as served:
        answer = served.ask("/api/v1/events")
        assert answer.status == 404
        assert "storage.folder" in answer.json["detail"]
