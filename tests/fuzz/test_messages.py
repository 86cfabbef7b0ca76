"""Messages of the wire: a client passes over what it cannot read, and hears the next one."""

from pathlib import Path

import msgspec
import pytest
import zmq
from hypothesis import strategies as st

from edge.client import Gap, Received, Restarted, Subscriber
from edge.wire.schema import decode
from tests.support.fuzzing import expect, fuzz, mutate

GOLDEN = {path.stem: path.read_bytes() for path in Path("tests/golden").glob("*.json")}
PACKED = [msgspec.msgpack.encode(msgspec.json.decode(text)) for text in GOLDEN.values()]
TOPICS = (
    b"v1/detections/door/", b"v1/tracks/door/", b"v1/faces/door/", b"v1/status/door/",
    b"v1/heartbeat/", b"v1/events/door/", b"v1/recent/", b"v1/", b"", b"\xff", b"v9/x/",
)  # fmt: skip
WORDS = (
    b'"seq":-1',
    b'"seq":18446744073709551616',
    b'"boot":""',
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
)


@pytest.fixture(scope="module")
def bus():
    """A publisher, and a client that hears it."""
    with zmq.Context.instance().socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        publisher.bind("inproc://fuzzed")
        with Subscriber("inproc://fuzzed") as subscriber:
            while publisher.poll(200):
                publisher.recv()
            yield publisher, subscriber


@fuzz(
    300,
    topic=st.sampled_from(TOPICS),
    content=mutate([*GOLDEN.values(), *PACKED], WORDS),
    more=st.lists(st.binary(max_size=40), max_size=3),
)
def test_a_message(bus, topic, content, more):
    publisher, subscriber = bus
    publisher.send_multipart([topic, content, *more])
    publisher.send_multipart([b"v1/detections/sentinel/", GOLDEN["detections"], b"sentinel"])
    while True:
        item = subscriber.receive(10)
        assert isinstance(item, Received | Gap | Restarted)
        if isinstance(item, Received) and item.jpeg == b"sentinel":
            return


@fuzz(200, topic=st.sampled_from(TOPICS), content=mutate([*GOLDEN.values(), *PACKED], WORDS))
def test_decoding(topic, content):
    with expect(ValueError):
        decode(topic.decode(errors="replace"), content)
