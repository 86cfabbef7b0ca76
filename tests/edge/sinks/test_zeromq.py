import contextlib
import time
from pathlib import Path

import msgspec
import pytest
import zmq
from pydantic import ValidationError

from edge.errors import SinkError
from edge.sinks import zeromq
from edge.wire.schema import Message, decode, encode
from tests.support.counting_sink import CountingSink, build

GOLDEN = Path(__file__).parents[2] / "golden"
PATIENCE_S = 5


def message(family="detections", camera="door", jpeg=None, **fields):
    name = f"v1/{family}/{camera}/" if family != "heartbeat" else "v1/heartbeat/"
    body = decode(name, (GOLDEN / f"{family}.json").read_bytes())
    if family != "heartbeat":
        fields["camera"] = camera
    return Message(name, msgspec.structs.replace(body, **fields), jpeg)


@contextlib.contextmanager
def published(bind="tcp://127.0.0.1:*", **options):
    sink = build(bind, **options)
    with sink.open():
        yield sink


@contextlib.contextmanager
def subscribed(sink, *topics, wait=True, **options):
    """A subscriber of plain pyzmq; with ``wait`` the publisher has heard of it."""
    with zmq.Context.instance().socket(zmq.SUB) as socket:
        socket.set(zmq.LINGER, 0)
        for option, value in options.items():
            socket.set(getattr(zmq, option), value)
        for topic in topics:
            socket.subscribe(topic)
        socket.connect(sink.endpoint)
        if wait:
            until(sink, lambda: all(sink.subscribed[topic.encode()] for topic in topics))
        yield socket


def until(sink, true):
    """Idle until something is true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        sink.idle()
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.005)


def drained(sink, socket, count=None, quiet_s=0.15):
    """What comes while the sink idles: ``count`` messages, or all until it is quiet.

    Heartbeats, with which joiners are answered, do not count.
    """
    came, deadline_s = [], time.monotonic() + (PATIENCE_S if count else quiet_s)
    while time.monotonic() < deadline_s and len(came) != count:
        sink.idle()
        while socket.poll(5) and len(came) != count:
            parts = socket.recv_multipart()
            came += [parts] if parts[0] != b"v1/heartbeat/" else []
            deadline_s = max(deadline_s, time.monotonic() + quiet_s)
    return came


def seen(parts):
    body = decode(parts[0].decode(), parts[1])
    return (parts[0].decode(), body.seq, body.cached is True)


def test_a_message_is_topic_and_payload_and_a_picture_is_a_third_part():
    with published() as sink, subscribed(sink, "v1/") as socket:
        plain, pictured = message(seq=1), message(seq=2, jpeg=b"\xff\xd8jpeg")
        sink.send([plain, pictured])
        assert drained(sink, socket, 2) == [
            [b"v1/detections/door/", encode(plain.body)],
            [b"v1/detections/door/", encode(pictured.body), b"\xff\xd8jpeg"],
        ]


def test_msgpack_says_the_same():
    with published(format="msgpack") as sink, subscribed(sink, "v1/") as socket:
        sent = message()
        sink.send([sent])
        [[topic, payload]] = drained(sink, socket, 1)
        assert decode(topic.decode(), payload) == sent.body
        assert payload == encode(sent.body, "msgpack") != encode(sent.body)


def test_a_subscription_to_cam1_never_gets_cam10():
    with published() as sink:
        sink.send([message("status", camera) for camera in ("cam1", "cam10")])
        with subscribed(sink, "v1/detections/cam1/", "v1/status/cam1/") as socket:
            sink.send([message(camera=camera) for camera in ("cam10", "cam1")])
            topics = {parts[0] for parts in drained(sink, socket)}
    assert topics == {b"v1/detections/cam1/", b"v1/status/cam1/"}


def test_a_late_joiner_hears_at_once_how_things_stand():
    with published() as sink:
        sink.send(
            [
                message("status", "door", seq=1, state="offline"),
                message("status", "door", seq=2, state="online"),
                message("status", "yard", seq=1, state="frozen"),
                message("tracks", seq=1, track=1, change="began"),
                message("tracks", seq=2, track=2, change="began"),
                message("tracks", seq=3, track=1, change="ended"),
                message(seq=1),
            ]
        )
        with subscribed(sink, "v1/") as socket:
            assert sorted(map(seen, drained(sink, socket))) == [
                ("v1/status/door/", 2, True),
                ("v1/status/yard/", 1, True),
                ("v1/tracks/door/", 2, True),
            ]
            sink.send([message("status", "door", seq=3)])
            assert seen(drained(sink, socket, 1)[0]) == ("v1/status/door/", 3, False)


def test_a_second_late_joiner_of_the_same_topic_is_answered_too():
    with published() as sink:
        sink.send([message("status", seq=1)])
        for _ in range(2):
            with subscribed(sink, "v1/status/door/") as socket:
                assert drained(sink, socket, 1)


def test_a_late_joiner_is_answered_though_the_sink_never_idles():
    with published() as sink:
        sink.send([message("status", seq=1)])
        with subscribed(sink, "v1/status/", wait=False) as socket:
            deadline_s = time.monotonic() + PATIENCE_S
            while not socket.poll(5):
                sink.send([message()])
                assert time.monotonic() < deadline_s
            assert seen(socket.recv_multipart()) == ("v1/status/door/", 1, True)


def test_a_crowd_that_joins_at_once_is_answered_once():
    now_s = [0.0]
    options = zeromq.Options(bind="tcp://127.0.0.1:*", linger_ms=0)
    sink = CountingSink(options, monotonic_s=lambda: now_s[0])
    with sink.open(), subscribed(sink, "v1/status/") as old, contextlib.ExitStack() as crowd:
        sink.send([message("status", seq=1)])
        drained(sink, old)
        for _ in range(20):
            crowd.enter_context(subscribed(sink, "v1/status/door/", wait=False))
        until(sink, lambda: sink.subscribed[b"v1/status/door/"] == 20)
        now_s[0] += 1
        assert len(drained(sink, old)) <= 2, "not twenty times"


def test_a_slow_subscriber_loses_messages_and_blocks_nobody():
    bulk = b"x" * 20_000
    with (
        published(sndhwm=5) as sink,
        subscribed(sink, "v1/detections/", RCVHWM=5) as slow,
        subscribed(sink, "v1/status/") as quick,
    ):
        for seq in range(2000):
            sink.send([message(jpeg=bulk, seq=seq + 1)])
            if seq % 100 == 99:  # more at once than libzmq holds is lost to all
                sink.send([message("status")])
                assert drained(sink, quick, 1)
        assert 0 < len(drained(sink, slow, quiet_s=1)) < 2000


def test_what_was_cached_survives_a_reopening():
    sink = build()
    with sink.open():
        sink.send([message("status", seq=7)])
        endpoint = sink.endpoint
    with sink.open(), subscribed(sink, "v1/") as socket:
        assert sink.endpoint == endpoint
        assert seen(drained(sink, socket, 1)[0]) == ("v1/status/door/", 7, True)


def test_a_subscriber_comes_back_by_itself_after_a_reopening():
    sink = build()
    with sink.open():
        stack = contextlib.ExitStack()
        socket = stack.enter_context(subscribed(sink, "v1/"))
    sink.subscribed.clear()
    with stack, sink.open():
        # a SUB socket renews its subscriptions when its user looks at it
        until(sink, lambda: socket.poll(0) or sink.subscribed[b"v1/"])
        sink.send([message()])
        assert drained(sink, socket, 1)


@pytest.mark.parametrize("bind", ["ipc://{tmp}/bus", "inproc://bus", "tcp://[::1]:*"])
def test_other_transports_work_too(bind, tmp_path):
    if "::1" in bind and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with published(bind.format(tmp=tmp_path)) as sink:
        sink.send([message("status")])
        options = {"IPV6": 1} if "::1" in bind else {}
        with subscribed(sink, "v1/", **options) as socket:
            assert drained(sink, socket, 1)


def _has_ipv6():
    with zmq.Context.instance().socket(zmq.PUB) as socket:
        socket.set(zmq.IPV6, 1)
        try:
            socket.bind("tcp://[::1]:*")
        except zmq.ZMQError:
            return False
    return True


def test_a_port_in_use_is_named_with_a_remedy():
    with (
        published() as first,
        pytest.raises(SinkError, match=r"127\.0\.0\.1:\d+: .*in use: .*another port"),
        published(first.endpoint),
    ):
        pass
    with published(first.endpoint):
        pass  # and it is free again at once


@pytest.mark.parametrize(
    "bind", ["tcp://192.0.2.1:*", "ipc:///nonexistent/folder/bus"], ids=["address", "folder"]
)
def test_what_cannot_be_bound_is_a_sink_error(bind):
    sink = zeromq.build(zeromq.Options(bind=bind, insecure=True))
    with pytest.raises(SinkError, match="bind"), sink.open():
        pass


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ("tcp://0.0.0.0:5555", "insecure = true"),
        ("tcp://*:5555", "insecure = true"),
        ("tcp://[::]:5555", "insecure = true"),
        ("tcp://192.0.2.1:5555", "insecure = true"),
        ("tcp://eth0:5555", "insecure = true"),
        ("tcp://127.0.0.1.example.org:5555", "insecure = true"),
        ("tcp://127.0.0.1:70000", "cannot be bound"),  # ZeroMQ itself would take port 4464
        ("tcp://127.0.0.1", "cannot be bound"),
        ("127.0.0.1:5555", "cannot be bound"),
        ("udp://127.0.0.1:5555", "cannot be bound"),
        ("", "cannot be bound"),
    ],
)
def test_a_bind_that_is_no_loopback_or_no_address_is_refused(bind, why):
    with pytest.raises(ValidationError, match=why) as caught:
        zeromq.Options(bind=bind)
    assert caught.value.errors()[0]["loc"] == ("bind",), "so that the message names the key"


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:1", "tcp://localhost:*", "tcp://127.8.8.8:2"])
def test_a_loopback_bind_is_fine(bind):
    assert zeromq.Options(bind=bind).bind == bind


def test_who_says_insecure_may_bind_anything():
    assert zeromq.Options(bind="tcp://*:5555", insecure=True).bind == "tcp://*:5555"
