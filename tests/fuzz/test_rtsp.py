"""What an RTSP camera answers: a `SourceError` that keeps the password, or captures."""

import itertools
import logging
import socket
import threading

import pytest
from hypothesis import strategies as st

from edge.errors import SourceError
from edge.sources.rtsp import Options, build
from tests.support.fuzzing import SECRET, expect, fuzz, mutate
from tests.support.hostile_rtsp import SDP, hostile_rtsp

OK = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n"
DESCRIPTION = SDP.encode()
ANSWERS = {
    "OPTIONS": OK + b"Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n",
    "SETUP": OK + b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
    "PLAY": OK + b"Session: 1\r\n\r\n$\0\0\x10\x80\x60\0\1\0\0\0\0\0\0\0\7\x65\x88\x84\0",
    "DENIED": b"RTSP/1.0 401 Unauthorized\r\nCSeq: %d\r\n"
    b'WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5\r\n\r\n',
}
WORDS = (
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n", b"Transport: \r\n",
    b"$\0\xff\xff",
    b"Location: rtsp://127.0.0.1:1/\r\n", b"WWW-Authenticate: Basic\r\n",
    b"a=rtpmap:96 H265/0\r\n",
    b"m=audio 0 RTP/AVP 0\r\n", b"a=control:rtsp://[::\r\n",
    b"a=fmtp:96 sprop-parameter-sets=,,\r\n",
)  # fmt: skip


class Script:
    """What is said to which verb; everything else is answered as a camera does."""

    verb, answer = "", b""

    def respond(self, exchange):
        number = exchange.cseq.encode()
        if exchange.verb == self.verb:
            exchange.connection.sendall(self.answer.replace(b"%d", number))
            exchange.connection.shutdown(socket.SHUT_WR)
        elif exchange.verb == "DESCRIBE" and self.verb == "SDP":
            exchange.answer(headers="Content-Type: application/sdp\r\n", body=self.answer)
        else:
            exchange.proceed()
            if exchange.verb == "PLAY":
                exchange.connection.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def script():
    return Script()


@pytest.fixture(scope="module")
def url(script):
    with hostile_rtsp(script.respond) as url:
        yield url.replace("rtsp://", f"rtsp://viewer:{SECRET}@")


ANSWERED = st.one_of(
    st.tuples(st.just("SDP"), mutate([DESCRIPTION], WORDS)),
    st.tuples(
        st.sampled_from(("OPTIONS", "DESCRIBE", "SETUP", "PLAY")),
        mutate(list(ANSWERS.values()), WORDS),
    ),
)


@fuzz(40, answered=ANSWERED)
def test_an_answer(script, url, caplog, answered):
    caplog.set_level(logging.DEBUG)
    script.verb, script.answer = answered
    options = {"open_timeout_s": 0.2, "read_timeout_s": 0.2, "first_picture_timeout_s": 0.2}
    source = build(Options(url=url, **options))
    with expect(SourceError), source.connect(threading.Event()) as captures:
        for capture in itertools.islice(captures, 3):
            assert capture.picture.size_wh
    assert SECRET not in caplog.text
