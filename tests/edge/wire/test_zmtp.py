import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from edge.wire.zmtp import FrameReader, ProtocolError, check_greeting, parse_mechanism

GREETING = b"\xff" + b"\0" * 7 + b"\1\x7f\3\0NULL" + b"\0" * 48


def make_frame(body, flags=0):
    if len(body) > 255:
        return bytes((flags | 2,)) + len(body).to_bytes(8, "big") + body
    return bytes((flags, len(body))) + body


@given(st.lists(st.tuples(st.binary(max_size=600), st.sampled_from([0, 1, 4]))), st.data())
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames, data):
    stream = b"".join(make_frame(body, flags) for body, flags in frames)
    reader, read = FrameReader(600), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        read += reader.read(stream[:size])
        stream = stream[size:]
    assert [(frame.body, frame.raw[0] & 5) for frame in read] == frames
    assert [frame.is_command for frame in read] == [flags == 4 for _, flags in frames]


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (make_frame(b"\1v1/"), (True, b"v1/")),
        (make_frame(b"\0v1/"), (False, b"v1/")),
        (make_frame(b"\1"), (True, b"")),
        (make_frame(b"\x09SUBSCRIBEv1/", 4), (True, b"v1/")),  # ZMTP 3.1
        (make_frame(b"\6CANCELv1/", 4), (False, b"v1/")),
        (make_frame(b"\4PING\0\0", 4), None),
        (make_frame(b"hello"), None),
        (make_frame(b"", 4), None),
    ],
)
def test_a_subscription_is_found_in_either_version(frame, found):
    [frame] = FrameReader(100).read(frame)
    assert frame.find_subscription() == found


def test_a_frame_that_is_too_long_is_refused_before_it_is_stored():
    with pytest.raises(ProtocolError, match="1099511627776 bytes; 512 are allowed"):
        list(FrameReader(512).read(b"\2" + (1 << 40).to_bytes(8, "big")))
    with pytest.raises(ProtocolError, match="reserved flags"):
        list(FrameReader(512).read(b"\x80\0"))


@pytest.mark.parametrize("size", range(65))
def test_every_beginning_of_a_greeting_is_taken(size):
    check_greeting(GREETING[:size])


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1", GREETING[:9] + b"\0", GREETING[:10] + b"\1"]
)
def test_another_protocol_is_refused(greeting):
    with pytest.raises(ProtocolError, match="ZMTP"):
        check_greeting(greeting)


def test_libzmq_greets_like_that():
    """The maker's own bytes: greeting, handshake and subscription of a SUB socket."""
    with zmq.Context() as context, context.socket(zmq.STREAM) as peer:
        port = peer.bind_to_random_port("tcp://127.0.0.1")
        with context.socket(zmq.SUB) as socket:
            socket.linger = peer.linger = 0
            socket.subscribe(b"v1/")
            socket.connect(f"tcp://127.0.0.1:{port}")
            stream = b""
            while len(stream) < 64:
                identity, data = peer.recv_multipart()
                if not data and not stream:
                    peer.send_multipart([identity, GREETING])
                stream += data
            check_greeting(stream[:64])
            assert parse_mechanism(stream[:64]) == b"NULL"
            ready = make_frame(b"\5READY\x0bSocket-Type\0\0\0\4XPUB", 4)
            peer.send_multipart([identity, ready])
            reader, frames = FrameReader(512), []
            frames += reader.read(stream[64:])
            while not any(frame.find_subscription() for frame in frames):
                frames += reader.read(peer.recv_multipart()[1])
    assert frames[0].command == b"READY"
    assert frames[1].find_subscription() == (True, b"v1/")
