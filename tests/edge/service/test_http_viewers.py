"""Viewers of the HTTP server: places of their own, kept as long as they take what they are sent."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time

import pytest
from websockets.sync.client import connect

from edge.service import http as service_http
from edge.types import CameraState, CameraStatus, StatusReason
from edge.web.ports import Fragment, StreamStart
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.certificates import make_certificate
from tests.support.web_node import make_node, serving


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path)


def follow(stack, served):
    """Open a stream of changes; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    stack.callback(connection.close)
    connection.request("GET", "/api/v1/changes")
    answer = connection.getresponse()
    stack.callback(answer.close)
    if answer.status == 200:
        answer.readline()
    return answer.status


def test_viewers_have_places_of_their_own_and_never_take_a_scraper_s():
    with (
        serving(make_node(), max_connections=1, max_viewers=3) as served,
        contextlib.ExitStack() as stack,
    ):
        assert [follow(stack, served) for _ in range(4)] == [200, 200, 200, 503]
        for _ in range(5):
            assert served.ask("/metrics").status == 200
        assert served.ask("/api/v1/cameras").status == 200
        stack.close()
        deadline_s = time.monotonic() + 5
        with contextlib.ExitStack() as others:
            while follow(others, served) != 200:
                assert time.monotonic() < deadline_s


def test_a_quiet_viewer_stays_longer_than_a_request_may_take(monkeypatch):
    monkeypatch.setattr(service_http, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(service_http, "STALL_S", 0.3)
    node = make_node()
    with serving(node) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/api/v1/changes")
        answer = connection.getresponse()
        answer.readline()
        time.sleep(1)
        status = CameraStatus("door", 1, CameraState.OFFLINE, "", StatusReason.HANGS, 1.0)
        node.changes.add_status(status)
        assert b"id:" in b"".join(answer.readline() for _ in range(2))
        answer.close()
        connection.close()


def test_a_viewer_who_takes_nothing_is_cut_off_and_its_place_is_free(monkeypatch):
    monkeypatch.setattr(service_http, "STALL_S", 0.5)
    ended = threading.Event()

    async def stream(camera):
        try:
            yield StreamStart("avc1.4d401f", b"header")
            while True:
                yield Fragment(bytes(500_000), True, 1.0, 1.0)
                await asyncio.sleep(0.005)
        finally:
            ended.set()

    with serving(make_node(open_live=stream), max_viewers=1) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as deaf:
            deaf.sendall(
                b"GET /api/v1/cameras/door/live HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert ended.wait(15)
        with contextlib.ExitStack() as stack:
            assert follow(stack, served) == 200


def test_a_download_may_take_longer_than_a_request_as_long_as_it_goes_on(monkeypatch):
    monkeypatch.setattr(service_http, "REQUEST_TIMEOUT_S", 0.3)

    def export(camera, from_s, to_s, write):
        for _ in range(20):
            write(bytes(1000))
            time.sleep(0.05)

    with serving(make_node(export=export)) as served:
        answer = served.ask("/api/v1/cameras/door/clip.mp4?from=1&to=2")
        assert len(answer.body) == 20_000


def test_a_body_that_does_not_come_holds_no_place(monkeypatch):
    with serving(make_node(), max_connections=2) as served, contextlib.ExitStack() as stack:
        for _ in range(40):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            peer.sendall(
                b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            )
        for _ in range(5):
            assert served.ask("/metrics").status == 200
        assert served.ask("/api/v1/events/none/seen", "PUT", {"seen": True}).status == 404


def test_with_tls_the_page_logs_in_and_watches(certificate, tmp_path):
    file = tmp_path / "users.toml"
    write_users(file, Users().put_user("ada", Role.ADMIN, "long enough"))

    async def stream(camera):
        yield StreamStart("avc1.4d401f", b"header")
        while True:
            yield Fragment(b"data", True, 1.0, 1.0)
            await asyncio.sleep(0.05)

    context = ssl.create_default_context(cafile=certificate["tls_cert"])
    context.check_hostname = False
    with serving(make_node(open_live=stream), users_file=str(file), **certificate) as served:
        connection = http.client.HTTPSConnection("127.0.0.1", served.port, context=context)
        body = json.dumps({"user": "ada", "password": "long enough"})
        connection.request("POST", "/api/v1/session", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        cookie = answer.headers["set-cookie"]
        assert "Secure" in cookie
        connection.close()
        address = f"wss://127.0.0.1:{served.port}/api/v1/cameras/door/live"
        headers = {"Cookie": cookie.partition(";")[0]}
        with connect(address, ssl=context, additional_headers=headers) as socket:
            assert json.loads(socket.recv(timeout=5))["codecs"] == "avc1.4d401f"
        peers = []
        for _ in range(service_http.MAX_CHANGES + 5):
            peer = context.wrap_socket(socket_to(served))
            peer.sendall(
                b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            )
            peers.append(peer)
        connection = http.client.HTTPSConnection("127.0.0.1", served.port, context=context)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        for peer in peers:
            peer.close()


def socket_to(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=5)


@pytest.mark.parametrize("path", ["/metrics", "/", "/api", "/api/v2/events"])
def test_a_method_that_changes_something_is_for_the_api_only(path):
    with serving(make_node()) as served:
        answer = served.ask(path, "POST", {})
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_stop_does_not_wait_for_viewers(caplog):
    with contextlib.ExitStack() as stack:
        with serving(make_node()) as served:
            assert follow(stack, served) == 200
        assert not served.server.is_alive()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
