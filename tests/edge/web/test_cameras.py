"""Cameras over a real server: their list, newest pictures, and video of a time."""

import http.client
import threading
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

from edge.errors import StorageError
from edge.web.ports import NodeHealth
from edge.web.schema import CameraHealth
from tests.support.web_node import make_latest, make_node, make_sight, serving


def decode(body):
    return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)


def test_cameras_are_listed_with_state_and_measured_rate():
    sights = [make_sight("door", hide=("face",)), make_sight("yard", aspect=1.5)]
    with serving(make_node(list_cameras=lambda: sights)) as served:
        door, yard = served.ask("/api/v1/cameras").json["cameras"]
        assert door == {
            "name": "door", "state": "online", "reason": "it delivers", "reason_code": "delivers",
            "since_s": 12.0, "size_wh": [640, 360], "aspect": 0.0, "fps": 9.88, "live": True,
            "hide": ["face"], "places": [], "states": {},
        }  # fmt: skip
        assert yard["aspect"] == 1.5
        assert served.ask("/api/v1/cameras/yard").json == yard
        assert served.ask("/api/v1/cameras/nobody").status == 404


GATE = {"name": "gate", "polygon": [[0, 0], [0.5, 0], [0.5, 1]], "model": "gate.onnx"}


def test_a_camera_has_the_states_of_its_places():
    latest = replace(make_latest(), states={"gate": "open"})
    node = make_node(
        list_cameras=lambda: [make_sight("door", states=[GATE])], get_latest=lambda _: latest
    )
    with serving(node) as served:
        door = served.ask("/api/v1/cameras/door").json
        assert door["places"] == [{"name": "gate", "polygon": [[0, 0], [0.5, 0], [0.5, 1]]}]
        assert door["states"] == {"gate": "open"}
    node = make_node(
        list_cameras=lambda: [make_sight("door", states=[GATE])], get_latest=lambda _: None
    )
    with serving(node) as served:
        assert served.ask("/api/v1/cameras/door").json["states"] == {}


def test_what_was_decided_of_an_object_is_written_at_its_box():
    stills = []
    for attributes in ((), ({"vest": "no"},)):
        latest = replace(make_latest(seq=len(stills)), attributes=attributes)
        with serving(make_node(get_latest=lambda _, latest=latest: latest)) as served:
            stills.append(decode(served.ask("/api/v1/cameras/door/latest.jpg?boxes=1").body))
    plain, said = (still[30:50, 190:230].astype(int) for still in stills)  # beside "person Ann"
    assert np.abs(plain - said).mean() > 20


def test_the_newest_picture_says_when_it_was_taken_and_is_never_larger_than_it_is():
    with serving(make_node(get_latest=make_latest)) as served:
        answer = served.ask("/api/v1/cameras/door/latest.jpg")
        assert answer.headers["x-captured-at"] == "1000.250"
        assert answer.headers["cache-control"] == "no-store"
        assert decode(answer.body).shape == (360, 640, 3)
        small = served.ask("/api/v1/cameras/door/latest.jpg?height=180")
        assert decode(small.body).shape == (180, 320, 3)
        large = served.ask("/api/v1/cameras/door/latest.jpg?height=2160")
        assert decode(large.body).shape == (360, 640, 3)


def test_faces_that_are_hidden_are_hidden_in_every_still():
    with serving(make_node(get_latest=lambda name: make_latest(name, hide=("face",)))) as served:
        for query in ("", "?boxes=1", "?height=359"):
            picture = decode(served.ask(f"/api/v1/cameras/door/latest.jpg{query}").body)
            face, elsewhere = picture[70:100, 140:160], picture[70:100, 400:460]
            assert face.std() < elsewhere.std() / 3
            assert elsewhere.std() > 30


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody/latest.jpg", 404),
        ("..%2fdoor/latest.jpg", 404),
        ("door/latest.jpg?height=9999", 400),
        ("door/latest.jpg?boxes=maybe", 400),
        ("door/clip.mp4", 400),
        ("door/clip.mp4?from=1&to=1", 400),
        ("door/clip.mp4?from=2&to=1", 400),
        ("door/clip.mp4?from=0&to=3601", 400),
        ("door/clip.mp4?from=0&to=1e9", 400),
        ("door/clip.mp4?from=-5&to=5", 400),
        ("door/clip.mp4?from=nan&to=nan", 400),
        ("door/clip.mp4?from=1&to=inf", 400),
        ("door/clip.mp4?from=1&to=2&speed=3", 400),
        ("gone/clip.mp4?from=1&to=2", 404),
        ("full/clip.mp4?from=1&to=2", 503),
    ],
)
def test_what_cannot_be_shown_is_a_problem(path, status):
    def export(camera, from_s, to_s, write):
        if camera == "full":
            raise StorageError("the disk does not answer")
        raise LookupError(camera)

    node = make_node(get_latest=make_latest, export=export)
    with serving(node) as served:
        answer = served.ask(f"/api/v1/cameras/{path}")
        assert answer.status == status, answer.body
        assert answer.json["status"] == status


def test_the_video_of_a_time_is_sent_as_it_is_made():
    def export(camera, from_s, to_s, write):
        assert (camera, from_s, to_s) == ("door", 100.0, 160.5)
        for number in range(100):
            write(bytes([number]) * 10_000)

    with serving(make_node(export=export)) as served:
        answer = served.ask("/api/v1/cameras/door/clip.mp4?from=100&to=160.5")
        assert answer.status == 200
        assert answer.headers["content-disposition"] == 'attachment; filename="door-100.mp4"'
        assert answer.body == b"".join(bytes([number]) * 10_000 for number in range(100))


def test_an_export_that_nobody_reads_ends():
    ended = threading.Event()

    def export(camera, from_s, to_s, write):
        try:
            while True:
                write(bytes(100_000))
        finally:
            ended.set()

    with serving(make_node(export=export)) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
        connection.request("GET", "/api/v1/cameras/door/clip.mp4?from=1&to=2")
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read(200_000)
        answer.close()
        connection.close()
        assert ended.wait(10)


def test_health_tells_what_is_at_fault():
    with serving(make_node()) as served:
        health = served.ask("/api/v1/health").json
        assert health["ready"] is True
        assert health["node"] == "gate"
        assert health["figures"] == {"disk_free_bytes": 5e9}
        assert health["cameras"] == []


def test_health_tells_how_each_camera_does():
    door = CameraHealth(name="door", age_s=0.07, max_age_s=0.2, lag_s=0.01, looked=900, dropped=3,
                        damaged=1, reconnects=2)  # fmt: skip
    yard = CameraHealth(name="yard", age_s=None, max_age_s=None, lag_s=0.0, looked=0, dropped=0,
                        damaged=0, reconnects=0)  # fmt: skip
    with serving(make_node(health=lambda: NodeHealth(True, cameras=(door, yard)))) as served:
        told = served.ask("/api/v1/health").json["cameras"]
        assert told == [msgspec.to_builtins(door), msgspec.to_builtins(yard)]
