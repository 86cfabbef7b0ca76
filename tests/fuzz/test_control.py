"""What peers send to a sink's socket: they are cut off or served, and the others notice nothing."""

import contextlib
import socket

import pytest
from hypothesis import strategies as st

from edge.wire.curve import CurveServer, UnauthorizedError
from edge.wire.zmtp import FrameReader, ProtocolError, make_frame, make_greeting
from tests.edge.sinks.test_zeromq import drained, message, published, subscribed
from tests.support.fuzzing import expect, fuzz, mutate
from tests.support.hostile_subscribers import GREETING, PING, READY, frame

CURVE = make_greeting(b"CURVE")
HELLO = make_frame(
    b"\5HELLO\1\0" + bytes(72) + bytes(range(32)) + bytes(8) + bytes(80), is_command=True
)
INITIATE = make_frame(b"\x08INITIATE" + bytes(96 + 8 + 200), is_command=True)
SEEDS = [
    GREETING + READY + frame(b"\1v1/") + PING,
    GREETING + READY + frame(b"\1v1/detections/") + frame(b"\0v1/detections/"),
    GREETING + READY + make_frame(b"\x09SUBSCRIBEv1/", is_command=True),
    CURVE + HELLO + INITIATE,
]
WORDS = (
    PING,
    READY,
    frame(b"\1"),
    frame(b"\0v1/"),
    b"\2" + b"\xff" * 8,
    b"\4\xff",
    HELLO,
    INITIATE,
)


@pytest.fixture(scope="module")
def sink():
    with published() as sink:
        yield sink


@pytest.fixture(scope="module")
def good(sink):
    with subscribed(sink, "v1/detections/") as good:
        yield good


@fuzz(60, content=mutate(SEEDS, WORDS))
def test_bytes_of_a_peer_harm_nobody_else(sink, good, content):
    port = int(sink.endpoint.rsplit(":", 1)[1])
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.sendall(content)
    sink.send([message(seq=1)])
    assert drained(sink, good, 1)


@fuzz(300, content=mutate(SEEDS, WORDS), cuts=st.integers(1, 40))
def test_frames_however_they_are_cut(content, cuts):
    reader = FrameReader(512)
    with expect(ProtocolError):
        for at in range(0, len(content), cuts):
            for read in reader.read(content[at : at + cuts]):
                read.find_subscription()
                assert len(read.body) <= 512


@fuzz(200, steps=st.lists(mutate([HELLO, INITIATE], WORDS), min_size=1, max_size=3))
def test_a_curve_handshake(steps):
    server = CurveServer(bytes(range(1, 33)), lambda key: None)
    for step in steps:
        with expect(ProtocolError, UnauthorizedError):
            for read in FrameReader(4096).read(step):
                server.greet(read)
                server.open(read)
    assert not server.client
