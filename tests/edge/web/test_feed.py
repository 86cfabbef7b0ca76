"""Changes over a real server: what happens arrives, in order, after a break, with names or not."""

import contextlib
import http.client
import json
import threading

import pytest

from edge.event import EventChange
from edge.recording.records import EventRecord
from edge.types import CameraState, CameraStatus, StatusReason
from edge.web.changes import KEPT, ChangeFeed
from tests.support.web_node import ANN, make_archive, make_event, make_node, serving

RECORD = EventRecord(make_event(1, people=(ANN,)))
OFFLINE = CameraStatus("door", 1, CameraState.OFFLINE, "away", StatusReason.HANGS, 5.0)


@contextlib.contextmanager
def following(served, **headers):
    """Yields a function that reads the next message: id, name and data."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/api/v1/changes", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")

    def read():
        fields = {}
        while True:
            line = answer.readline().decode().rstrip("\n")
            if not line and "data" in fields:
                return fields["id"], fields["event"], json.loads(fields["data"])
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value

    assert answer.readline() == b"retry: 2000\n"
    try:
        yield read
    finally:
        answer.close()
        connection.close()


def test_what_happens_arrives_in_order():
    feed = ChangeFeed()
    with serving(make_node(changes=feed)) as served, following(served) as read:
        feed.add_event(EventChange.BEGUN, RECORD)
        feed.add_status(OFFLINE)
        feed.add_event(EventChange.ENDED, RECORD)
        feed.add_deletion(RECORD)
        messages = [read() for _ in range(4)]
    assert [name for _, name, _ in messages] == ["begun", "camera", "ended", "deleted"]
    assert messages[0][2]["id"] == "e00001"
    assert messages[0][2]["people"] == [{"person": "p1", "name": "Ann"}]
    assert messages[1][2]["state"] == "offline"


def test_who_comes_back_gets_what_was_missed():
    feed = ChangeFeed()
    with serving(make_node(changes=feed)) as served:
        with following(served) as read:
            feed.add_status(OFFLINE)
            last = read()[0]
        feed.add_event(EventChange.BEGUN, RECORD)
        feed.add_event(EventChange.ENDED, RECORD)
        with following(served, last_event_id=last) as read:
            assert [read()[1] for _ in range(2)] == ["begun", "ended"]


@pytest.mark.parametrize("last", ["nonsense", "00000000-1", "{run}-999999", "{run}-x", "{run}-1"])
def test_who_missed_too_much_is_told_to_read_everything_again(last):
    feed = ChangeFeed()
    for _ in range(KEPT + 5):
        feed.add_status(OFFLINE)
    with (
        serving(make_node(changes=feed)) as served,
        following(served, last_event_id=last.format(run=feed.run)) as read,
    ):
        assert read()[1:] == ("reset", {})
        feed.add_event(EventChange.BEGUN, RECORD)
        assert read()[1] == "begun"


def test_a_forgotten_person_has_no_name_in_what_is_sent_again():
    feed = ChangeFeed()
    with serving(make_node(changes=feed)) as served:
        with following(served) as read:
            feed.add_status(OFFLINE)
            last = read()[0]
        feed.add_event(EventChange.BEGUN, RECORD)
        feed.forget_person("p1")
        with following(served, last_event_id=last) as read:
            assert read()[2]["people"] == [{"person": "p1", "name": ""}]


def test_who_marks_an_event_tells_other_pages(tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1))
    with serving(make_node(archive=archive)) as served, following(served) as read:
        served.ask("/api/v1/events/e00001/seen", "PUT", {"seen": True})
        _, name, event = read()
        assert (name, event["seen"]) == ("updated", True)


def test_changes_of_many_threads_are_numbered_without_gaps():
    feed = ChangeFeed()
    threads = [
        threading.Thread(target=lambda: [feed.add_status(OFFLINE) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [change.number for change in feed.list_after(0)] == list(range(1, 201))
    assert feed.list_after(200) == []
    assert feed.list_after(201) is None
