import contextlib
import math
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from edge.client import Gap, Received, Restarted, Subscriber
from edge.errors import EdgeError
from edge.sinks import zeromq
from edge.wire.schema import DetectionsMessage, Message, StatusMessage, decode
from tests.support.counting_sink import build

GOLDEN = Path(__file__).parents[1] / "golden"
DOOR = "v1/detections/door/"
PATIENCE_S = 5


def message(family="detections", camera="door", boot="5eed", jpeg=None, **fields):
    topic = "v1/heartbeat/" if family == "heartbeat" else f"v1/{family}/{camera}/"
    body = decode(topic, (GOLDEN / f"{family}.json").read_bytes())
    if family != "heartbeat":
        fields["camera"] = camera
    return Message(topic, msgspec.structs.replace(body, boot=boot, **fields), jpeg)


def beat(seq, boot="5eed", **last_seq):
    topics = {f"v1/detections/{camera}/": last for camera, last in last_seq.items()}
    return message("heartbeat", boot=boot, seq=seq, last_seq=topics)


def frames(*numbers, **fields):
    return [message(seq=seq, **fields) for seq in numbers]


class Line:
    """A publisher and a subscriber, both driven by the test."""

    def __init__(self, sink, subscriber):
        self.sink, self.subscriber = sink, subscriber

    def hears(self, messages, quiet_s=0.1):
        """What the subscriber hands out after these were sent."""
        self.sink.send(messages)
        items, quiet_at_s = [], time.monotonic() + quiet_s
        while time.monotonic() < quiet_at_s:
            self.sink.idle()
            while (item := self.subscriber.receive(0.01)) is not None:
                items.append(item)
                quiet_at_s = time.monotonic() + quiet_s
        return items


@contextlib.contextmanager
def connected(topics=("v1/",), sink_options=None, before=(), **options):
    sink = build(**(sink_options or {}))
    with sink.open():
        sink.send(before)
        with Subscriber(sink.endpoint, topics, **options) as subscriber:
            line = Line(sink, subscriber)
            deadline_s = time.monotonic() + PATIENCE_S
            prefixes = {topic.encode() for topic in topics}
            sink._answer_s = math.inf  # subscriptions may come one by one: answer them as one
            while not (prefixes <= set(sink.subscribed) and sink.subscribed[b"v1/heartbeat/"] > 1):
                sink.idle()
                assert time.monotonic() < deadline_s
            sink._answer_s = 0.0
            sink.idle()
            yield line


def kinds(items):
    return [type(item) for item in items]


def test_messages_come_typed_with_topic_and_picture():
    with connected() as line:
        items = line.hears([message(seq=1, jpeg=b"\xff\xd8"), message("status", seq=1)])
    assert kinds(items) == [Received, Received]
    assert [type(item.body) for item in items] == [DetectionsMessage, StatusMessage]
    assert [item.topic for item in items] == [DOOR, "v1/status/door/"]
    assert [item.jpeg for item in items] == [b"\xff\xd8", None]
    assert not any(item.repeat for item in items)


def test_both_encodings_are_understood():
    for encoding in ("json", "msgpack"):
        with connected(sink_options={"format": encoding}) as line:
            [item] = line.hears(frames(1))
            assert item.body == message(seq=1).body


def test_only_the_topics_asked_for_are_handed_out():
    with connected((DOOR,)) as line:
        items = line.hears([*frames(1), *frames(1, camera="door2"), beat(1), beat(2)])
        assert [item.topic for item in items] == [DOOR]
        assert line.subscriber.received == 3, "heartbeats are heard for their claims"


def test_a_gap_is_reported_before_the_message_that_shows_it():
    with connected() as line:
        items = line.hears(frames(5, 6, 9))
        assert items[2] == Gap(DOOR, 7, 9, 2)
        assert kinds(items) == [Received, Received, Gap, Received]
        assert line.subscriber.missed == 2


def test_gaps_can_be_counted_without_being_handed_out():
    with connected(gaps=False) as line:
        items = line.hears([*frames(5, 9), *frames(1, boot="other")])
        assert kinds(items) == [Received] * 3
        assert line.subscriber.missed == 3


def test_heartbeats_reveal_what_was_lost_at_the_end():
    with connected((DOOR,)) as line:
        items = line.hears([*frames(5), beat(1, door=7, elsewhere=9), beat(2, door=7, elsewhere=9)])
        assert items[1:] == [Gap(DOOR, 6, 8, 2)]
        assert line.subscriber.missed == 2, "of the topics asked for"


def test_a_lost_heartbeat_is_no_concern_of_who_did_not_ask_for_it():
    with connected((DOOR,)) as line:
        assert line.hears([beat(1), beat(5)]) == []
        assert line.subscriber.missed == 0


def test_who_joins_late_has_lost_no_heartbeats():
    before = [message("heartbeat", seq=seq, last_seq={}) for seq in (1, 2, 3)]
    with connected(("v1/",), before=before) as line:
        snapshot = line.hears([])
        assert [item.repeat for item in snapshot] == [True]
        items = line.hears([message("heartbeat", seq=4, last_seq={})])
        assert kinds(items) == [Received]
        assert line.subscriber.missed == 0


def test_a_restart_is_no_gap():
    with connected() as line:
        items = line.hears([*frames(5), *frames(1, 2, boot="next")])
        assert items[1] == Restarted("gate-1", "5eed", "next")
        assert kinds(items) == [Received, Restarted, Received, Received]
        assert line.subscriber.missed == 0


def test_the_last_values_are_repeats_and_no_gap():
    began = [message("tracks", seq=seq, track=seq, change="began") for seq in (3, 7, 9)]
    with connected(before=[*began, message("status", seq=4, state="online")]) as line:
        items = line.hears([])
        assert [(item.topic, item.body.seq, item.repeat) for item in items] == [
            ("v1/heartbeat/", 0, True),
            ("v1/status/door/", 4, True),
            ("v1/tracks/door/", 3, True),
            ("v1/tracks/door/", 7, True),
            ("v1/tracks/door/", 9, True),
        ]
        [item] = line.hears([message("tracks", seq=10, track=1, change="ended")])
        assert not item.repeat
        assert line.hears([message("tracks", seq=12, track=1, change="ended")])[0].missed == 1


def test_what_is_lost_right_after_joining_is_a_gap():
    with connected(before=frames(1, 2)) as line:
        deadline_s = time.monotonic() + 5
        while not line.hears([]):  # the snapshot, from which losses count
            assert time.monotonic() < deadline_s
        gap, item, *snapshots = line.hears([*frames(4)])
        assert (gap.expected, gap.missed, item.body.seq) == (3, 1, 4)
        assert all(snapshot.repeat for snapshot in snapshots)  # for another subscriber


def test_a_number_that_came_already_is_a_repeat():
    with connected() as line:
        items = line.hears(frames(5, 5, 4, 6))
        assert [item.repeat for item in items] == [False, True, True, False]


def test_every_message_that_a_full_queue_lost_is_accounted_for():
    bulk, count = b"x" * 20_000, 2000
    with connected((DOOR,), {"sndhwm": 2}, rcvhwm=2) as line:
        line.sink.send([beat(1), beat(2)])
        items = line.hears([])
        for seq in range(1, count + 1):
            line.sink.send([message(seq=seq, jpeg=bulk)])
        items += line.hears([])
        for seq in (3, 4):
            items += line.hears([beat(seq, door=count)])
    came = [item.body.seq for item in items if isinstance(item, Received)]
    lost = [seq for gap in items if isinstance(gap, Gap) for seq in range(gap.expected, gap.got)]
    assert lost, "the queue was meant to overflow"
    assert sorted(came + lost) == list(range(1, count + 1))
    assert line.subscriber.missed == len(lost)


def test_what_is_no_message_is_counted_and_skipped():
    with zmq.Context.instance().socket(zmq.XPUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
            assert subscriber.receive(0.01) is None
            socket.recv()
            for parts in (
                [b"v1/status/door/"],
                [b"v1/status/door/", b"{}"],
                [b"v1/status/door/", b"\xff" * 10],
                [b"v1/status/\xff/", b"{}"],
                [b"v1/later/door/", b"{}"],
                [b"v1/status/door/", b"{}", b"", b""],
                [b"v1/status/door/", (GOLDEN / "status.json").read_bytes()],
            ):
                socket.send_multipart(parts)
            assert subscriber.receive(PATIENCE_S).topic == "v1/status/door/"
            assert subscriber.skipped == 6


def test_receive_returns_none_when_nothing_comes():
    with connected((DOOR,)) as line:
        assert line.subscriber.receive(0) is None
        assert line.hears([beat(1)]) == [], "a heartbeat is nothing to who did not ask for it"


def test_unwanted_messages_do_not_stretch_the_time_out():
    with connected((DOOR,)) as line:
        line.sink.send([beat(seq) for seq in range(1, 50)])
        assert line.subscriber._socket.poll(PATIENCE_S * 1000)
        assert line.subscriber.receive(0) is None
        assert line.subscriber.received == 1, "the others wait for the next call"


def test_iteration_ends_in_a_time_out_that_names_the_endpoint():
    with connected(timeout_s=0.05) as line:
        line.sink.send(frames(1, 2))
        items = iter(line.subscriber)
        assert [next(items).body.seq for _ in range(2)] == [1, 2]
        with pytest.raises(TimeoutError, match=line.sink.endpoint):
            next(items)


def test_it_connects_before_and_after_the_publisher_lives():
    with connected() as line:
        line.hears(frames(1))
        endpoint = line.sink.endpoint
    with Subscriber(endpoint) as subscriber:
        assert subscriber.receive(0.05) is None
        sink = zeromq.build(zeromq.Options(bind=endpoint, linger_ms=0))
        for boot in ("a", "b"):
            with sink.open():
                deadline_s = time.monotonic() + PATIENCE_S
                item, seq = None, 0
                while item is None:
                    seq += 1
                    sink.send(frames(seq, boot=boot))
                    item = subscriber.receive(0.02)
                    assert time.monotonic() < deadline_s
            if boot == "b":
                assert item == Restarted("gate-1", "a", "b")
            while subscriber.receive(0.05):
                pass


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://", "foo://x", "tcp://127.0.0.1"])
def test_an_endpoint_that_is_none_is_an_error_with_a_remedy(endpoint):
    with (
        pytest.raises(EdgeError, match=r"cannot connect to .*use tcp://HOST:PORT"),
        Subscriber(endpoint),
    ):
        pass


def test_a_subscriber_can_be_entered_again():
    subscriber = Subscriber("ipc:///nonexistent/bus")
    for _ in range(2):
        with subscriber:
            assert subscriber.receive(0) is None
