"""The HTTP API on its real server: no request is answered with an internal error."""

import contextlib
import socket

import pytest

from tests.support.fuzzing import fuzz, mutate
from tests.support.web_node import make_archive, make_event, make_node, serving

PATHS = (
    b"/", b"/readyz", b"/metrics", b"/api/v1/health", b"/api/v1/cameras", b"/api/v1/cameras/door",
    b"/api/v1/events?limit=2&camera=door&before=1&after=0&label=person&seen=false",
    b"/api/v1/events/e00001", b"/api/v1/events/e00001/clip", b"/api/v1/events/export?camera=door",
    b"/api/v1/cameras/door/recordings?after=0&before=9", b"/api/v1/cameras/door/places",
    b"/static/index.html", b"/api/openapi.json", b"/api/v1/people", b"/api/v1/configuration",
)  # fmt: skip
SEEDS = [
    b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" for path in PATHS
]
SEEDS += [
    method
    + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(body) + body
    for method, body in (
        (b"PUT /api/v1/events/e00001/seen", b'{"seen": true}'),
        (b"PUT /api/v1/events/e00001/protected", b'{"protected": true}'),
        (b"DELETE /api/v1/events/e00001", b""),
        (b"POST /api/v1/login", b'{"user": "ann", "password": "x"}'),
        (b"PUT /api/v1/cameras/door/places", b'{"zones": [], "lines": [], "masks": []}'),
    )
]
WORDS = (
    b"%00", b"%ff", b"%2e%2e%2f", b"?limit=-1", b"?before=nan", b"?after=1e999", b"?limit=99999999",
    b"?label=\xc3\xa9", b"Range: bytes=-1\r\n", b"Range: bytes=5-1,0-\r\n",
    b"Content-Length: 99999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"If-None-Match: *\r\n", b"Cookie: session=\xff\r\n", b"[]",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    archive = make_archive(tmp_path_factory.mktemp("archive"))
    for number in range(3):
        archive.index.put_event(make_event(number))
    with serving(make_node(archive=archive)) as served:
        yield served


@fuzz(200, request_=mutate(SEEDS, WORDS, most=3))
def test_a_request(served, caplog, request_):
    caplog.clear()
    answer = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", served.port), 10) as client,
    ):
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        while (part := client.recv(65536)) and len(answer) < 1 << 20:
            answer += part
    assert b" 500 " not in answer.split(b"\r\n", 1)[0], answer
    assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.exc_info], caplog.text


def test_after_all_of_them_it_answers(served):
    assert served.ask("/api/v1/health").status == 200
