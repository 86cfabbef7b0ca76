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
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edge.recording.records import FileKind
from edge.service import http as service_http
from edge.types import CameraState, CameraStatus, StatusReason
from edge.web.ports import EnrolledPerson, Fragment, StreamStart
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.certificates import make_certificate
from tests.support.web_node import (
    ANN,
    make_archive,
    make_event,
    make_latest,
    make_node,
    serving,
    store,
)


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


async def send_for_ever(camera):
    yield StreamStart("avc1.4d401f", b"header")
    while True:
        yield Fragment(b"piece", True, 1.0, 1.0)
        await asyncio.sleep(0.05)


def watch(stack, served, **headers):
    """Open live video; the status."""
    address = f"ws://127.0.0.1:{served.port}/api/v1/cameras/door/live"
    try:
        stack.enter_context(connect(address, additional_headers=headers, max_size=None)).recv()
    except InvalidStatus as error:
        return error.response.status_code, error.response.body
    return 101, b""


@pytest.fixture
def users_file(tmp_path):
    """Two programs, by their tokens."""
    users, ada = Users().put_token("ada", Role.ADMIN)
    users, guest = users.put_token("guest", Role.VIEWER)
    write_users(tmp_path / "users.toml", users)
    return str(tmp_path / "users.toml"), f"Bearer {ada}", f"Bearer {guest}"


def test_one_user_has_a_quarter_of_the_places_and_others_the_rest(users_file):
    path, ada, guest = users_file
    node = make_node(open_live=send_for_ever)
    with (
        serving(node, max_viewers=24, users_file=path) as served,
        contextlib.ExitStack() as stack,
    ):
        found = [watch(stack, served, Authorization=guest) for _ in range(8)]
        assert [status for status, _ in found] == [101] * 6 + [503] * 2
        assert b"user guest has 6 of 24 places for watching, the most: close a page" in found[-1][1]
        assert [watch(stack, served, Authorization=ada)[0] for _ in range(6)] == [101] * 6


def test_without_a_login_one_address_has_at_least_four_places():
    with (
        serving(make_node(), max_viewers=8) as served,
        contextlib.ExitStack() as stack,
    ):
        assert [follow(stack, served) for _ in range(6)] == [200] * 4 + [503] * 2
        answer = served.ask("/api/v1/changes")
        assert "address 127.0.0.1 has 4 of 8" in answer.json["detail"]


class Gallery:
    def __init__(self, delay_s=0.0):
        self.delay_s = delay_s

    def enroll_photo(self, name, photo, until):
        time.sleep(self.delay_s)
        return EnrolledPerson("p1", name, 1, 1.0, "", "active")

    def deny(self, person, event_id):
        pass

    def forget(self, person):
        pass


def test_viewers_are_in_nobody_s_way_who_enrolls_denies_forgets_or_downloads(tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, people=(ANN,)))
    store(archive, make_event(1), FileKind.CLIP, b"video")
    node = make_node(archive=archive, people=Gallery(), export=lambda *call: call[-1](b"exported"))
    with serving(node, max_viewers=1) as served, contextlib.ExitStack() as stack:
        assert [follow(stack, served) for _ in range(2)] == [200, 503]
        enrolled = served.ask(
            "/api/v1/people/photo?name=Ann&consent=true", "POST", b"photo",
            content_type="image/jpeg",
        )  # fmt: skip
        assert enrolled.status == 200
        event = {"event": "e00001"}
        assert served.ask("/api/v1/people/p1/denials", "POST", event).status == 200
        assert served.ask("/api/v1/people/p1", "DELETE").status == 204
        assert served.ask("/api/v1/events/e00001/clip.mp4").body == b"video"
        answer = served.ask("/api/v1/cameras/door/clip.mp4?from=1&to=2")
        assert answer.body == b"exported"


def test_enrolling_may_take_longer_than_a_request(monkeypatch):
    monkeypatch.setattr(service_http, "REQUEST_TIMEOUT_S", 0.3)
    with serving(make_node(people=Gallery(delay_s=1))) as served:
        answer = served.ask(
            "/api/v1/people/photo?name=Ann&consent=true", "POST", b"photo",
            content_type="image/jpeg",
        )  # fmt: skip
        assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    ["changes", "cameras/door/live.mjpeg", "cameras/door/objects",
     "cameras/door/clip.mp4?from=1&to=2"],
)  # fmt: skip
def test_a_head_is_answered_at_once_and_holds_no_place(path):
    over = threading.Semaphore(0)

    def export(camera, from_s, to_s, write):
        try:
            for _ in range(100):
                write(b"piece")
        finally:
            over.release()

    node = make_node(get_latest=lambda _: make_latest(), export=export)
    with serving(node, max_viewers=1) as served, contextlib.ExitStack() as stack:
        for _ in range(6):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
            stack.callback(connection.close)
            connection.request("HEAD", f"/api/v1/{path}")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
            assert answer.headers["cache-control"] == "no-store"
            if "clip" in path:
                assert over.acquire(timeout=10)  # no thread is left that waits for a reader
        assert follow(stack, served) == 200


def test_a_stop_with_whatever_goes_on_logs_no_error(caplog):
    stopped = threading.Event()
    node = make_node(
        open_live=send_for_ever, get_latest=lambda _: make_latest(),
        export=lambda *_: stopped.wait(10) and None,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        with serving(node) as served:
            assert watch(stack, served)[0] == 101
            for path in ("live.mjpeg", "objects", "clip.mp4?from=1&to=2"):
                peer = stack.enter_context(socket_to(served))
                line = f"GET /api/v1/cameras/door/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                peer.sendall(line.encode())
                if "clip" not in path:
                    assert peer.recv(100)
            time.sleep(0.3)  # the export has begun, and has nothing to send
        stopped.set()
        assert not served.server.is_alive()
    told = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]
    assert told == []
