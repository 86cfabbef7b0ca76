"""What is found, as it is: one message a frame, without names for who may not see them."""

import http.client
import json
from dataclasses import replace

from edge.web.objects import describe_objects
from tests.support.web_node import make_latest, make_node, serving


def test_names_are_for_who_may_see_them():
    shown = describe_objects(make_latest(), names=True)
    assert shown.captured_s == 1000.25
    assert shown.size_wh == (640, 360)
    [found] = shown.objects
    assert (found.track, found.label, found.name) == (7, "person", "Ann")
    assert found.xyxy == (100.0, 50.0, 200.0, 250.0)
    [hidden] = describe_objects(make_latest(), names=False).objects
    assert hidden.name == "known person"


def test_what_classifiers_have_decided_is_told_of_objects_and_places():
    said = replace(make_latest(), attributes=({"vest": "no"},), states={"gate": "open"})
    shown = describe_objects(said, names=True)
    assert shown.objects[0].attributes == {"vest": "no"}
    assert shown.states == {"gate": "open"}
    bare = describe_objects(make_latest(), names=True)
    assert (bare.objects[0].attributes, bare.states) == ({}, {})


def test_each_frame_is_sent_once():
    seen = [make_latest(seq=1)]
    node = make_node(get_latest=lambda _: seen[-1])
    with serving(node) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/api/v1/cameras/door/objects")
        answer = connection.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [answer.readline() for _ in range(4)]
        assert lines[2] == b"event: objects\n"
        assert json.loads(lines[3].removeprefix(b"data: "))["captured_s"] == 1000.25
        assert answer.readline() == b"\n"
        seen.append(make_latest(seq=2))
        assert [answer.readline()[:6] for _ in range(3)] == [b"event:", b"data: ", b"\n"]
        answer.close()
        connection.close()


def test_a_camera_that_is_not_there_is_a_problem():
    with serving(make_node()) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/api/v1/cameras/nowhere/objects")
        assert connection.getresponse().status == 404
        connection.close()
