"""The HTTP server, for real on loopback: answers, token, slow and surplus clients, TLS."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
import time
import urllib.request
from functools import partial

import pytest
from cryptography.hazmat.primitives import serialization

from edge.config import Http
from edge.errors import ConfigError
from edge.service.health import HealthBoard
from edge.service.http import HANDSHAKE_S, MAX_FILE_BYTES, MAX_HANDSHAKES, HttpServer
from edge.service.http_gate import HEAD_S
from edge.service.metrics import Metrics
from edge.types import CameraState, CameraStatus, StatusReason
from tests.support.certificates import make_certificate


def status(camera, state, reason="because"):
    return CameraStatus(camera, 1, state, reason, StatusReason.DELIVERS, 12.0)


@pytest.fixture
def serve():
    servers = []

    def start(**options):
        metrics, health = Metrics(), HealthBoard()
        server = HttpServer(Http(port=0, **options), metrics, health)
        server.start()
        servers.append(server)
        return server, metrics, health

    yield start
    for server in servers:
        server.stop(time.monotonic() + 5)


def get(server, path, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_healthz_answers_while_nothing_is_ready(serve):
    server, _, _ = serve()
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz")[0] == 503


def test_readyz_needs_models_and_one_camera_and_names_each(serve):
    server, _, health = serve()
    health.report(status("gate", CameraState.OFFLINE, "nobody answers"))
    health.report(status("door", CameraState.ONLINE))
    assert get(server, "/readyz")[0] == 503
    health.models_loaded = True
    code, body = get(server, "/readyz")
    assert code == 200
    cameras = json.loads(body)["cameras"]
    assert cameras["door"]["ready"] is True
    assert cameras["gate"]["ready"] is False
    assert cameras["gate"]["reason"] == "nobody answers"
    assert cameras["gate"]["reason_code"] == "delivers"
    health.report(status("door", CameraState.FROZEN))
    assert get(server, "/readyz")[0] == 503


def test_readyz_says_what_stands_still_or_does_not_deliver(serve):
    server, _, health = serve()
    health.models_loaded = True
    health.report(status("door", CameraState.ONLINE))
    assert get(server, "/readyz")[0] == 200
    health.report_sink("0-zeromq", "it does not deliver")
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["broken_sinks"]) == (503, {"0-zeromq": "it does not deliver"})
    health.report_sink("0-zeromq", "")
    health.stuck = ["inference 0"]
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["stuck"]) == (503, ["inference 0"])
    health.stuck = ()
    health.silent_cameras = frozenset({"door"})
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["cameras"]["door"]["ready"]) == (503, False)


def test_readyz_says_that_a_hub_has_nobody_named_and_is_ready_all_the_same(serve):
    """A configuration would be rolled back otherwise, on each box that the hub did not renew."""
    server, _, health = serve()
    health.models_loaded = True
    health.report(status("door", CameraState.ONLINE))
    health.report_suspension("what the hub allowed ended")
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["gallery"]) == (200, "what the hub allowed ended")
    health.report_gallery("it cannot be read")
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["gallery"]) == (503, "it cannot be read")


def test_metrics_are_prometheus_text_and_a_removed_camera_disappears(serve):
    server, metrics, _ = serve()
    metrics.camera("door").captured.inc()
    metrics.camera("gate").captured.inc()
    _, text = get(server, "/metrics")
    assert 'edge_capture_frames_total{camera="door"} 1.0' in text
    metrics.forget_camera("door")
    deadline_s = time.monotonic() + 5
    while '"door"' in (text := get(server, "/metrics")[1]):
        assert time.monotonic() < deadline_s
    assert '"gate"' in text


def test_a_token_guards_metrics_and_readiness(serve, tmp_path):
    token = tmp_path / "token"
    token.write_text("tell-nobody\n")
    server, _, _ = serve(token_file=str(token))
    assert get(server, "/metrics")[0] == 401
    assert get(server, "/readyz", {"Authorization": "Bearer wrong"})[0] == 401
    assert get(server, "/metrics", {"Authorization": "Bearer tell-nobody"})[0] == 200
    assert get(server, "/healthz")[0] == 200


def test_a_token_may_be_any_text(serve, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret Tök€n\n", encoding="utf-8")
    server, _, _ = serve(token_file=str(token))
    sent = "Bearer s3cret Tök€n".encode().decode("latin-1")
    assert get(server, "/metrics", {"Authorization": sent})[0] == 200
    assert get(server, "/metrics", {"Authorization": "Bearer s3cret T"})[0] == 401


@pytest.mark.parametrize("size", [b"-1", b"zz"])
def test_a_body_that_is_not_http_is_refused_and_not_logged(size, serve, caplog):
    server, _, _ = serve()
    chunked = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
        peer.sendall(chunked + size + b"\r\nx\r\n")
        assert peer.recv(12) == b"HTTP/1.1 400"
    assert get(server, "/healthz")[0] == 200
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_method_that_changes_something_is_refused_and_takes_no_place(serve, method):
    server, _, _ = serve(max_connections=1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as reader:
        reader.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert reader.recv(12) == b"HTTP/1.1 200"  # and holds its place with the missing body
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
            peer.sendall(f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b"".join(iter(lambda: peer.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: GET, HEAD" in answer
    assert get(server, "/healthz")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"], ids=["", "half"])
def test_a_client_that_sends_no_whole_request_is_cut_off(serve, sent):
    server, _, _ = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=HEAD_S + 5) as slow:
        slow.sendall(sent)
        assert _is_closed(slow)


@pytest.mark.parametrize("sent", [b"", b"POST /metrics HTTP/1.1\r\n"], ids=["silent", "half"])
def test_a_scraper_is_answered_while_hundreds_hold_connections(serve, sent):
    server, _, _ = serve()
    over = threading.Event()
    address = ("127.0.0.1", server.port)

    def hold():
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(address, 3) as held:
                held.sendall(sent)
                held.settimeout(3)
                held.recv(10)

    holders = [threading.Thread(target=hold) for _ in range(200)]
    for holder in holders:
        holder.start()
    try:
        for _ in range(10):
            assert get(server, "/healthz")[0] == 200
    finally:
        over.set()
        for holder in holders:
            holder.join()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_whole_requests_that_come_together_are_all_answered(serve, method):
    server, _, _ = serve(max_connections=8)
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        crowd = [
            stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(100)
        ]
        for connection in crowd:
            connection.sendall(method + b" /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in crowd:
            assert connection.recv(9) == b"HTTP/1.1 "


def test_a_scraper_does_not_wait_for_the_requests_of_another_address(serve):
    server, _, _ = serve(max_connections=1)
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        crowd = [
            stack.enter_context(socket.create_connection(address, 5, ("127.0.0.2", 0)))
            for _ in range(250)
        ]
        for connection in crowd:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        began_s = time.monotonic()
        assert get(server, "/healthz")[0] == 200
        assert time.monotonic() - began_s < 0.6  # all of the crowd take a second and more


def test_who_never_reads_makes_room_for_who_does(serve):
    server, metrics, _ = serve(max_connections=4)
    for number in range(500):
        metrics.camera(f"camera-{number}")
    address = ("127.0.0.1", server.port)
    deaf = [socket.create_connection(address) for _ in range(20)]
    try:
        for connection in deaf:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(5):
            assert get(server, "/readyz")[0] == 503
    finally:
        for connection in deaf:
            connection.close()


def _is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_port_in_use_is_told_once_and_taken_when_it_is_free(caplog):
    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HttpServer(Http(port=port), Metrics(), HealthBoard())
        server.start()
        time.sleep(1.5)
        assert caplog.text.count(f"cannot listen on 127.0.0.1:{port}") == 1
        assert server.is_alive()
    deadline_s = time.monotonic() + 5
    try:
        while server.port == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert get(server, "/healthz")[0] == 200
        assert f"http port {port} is free now, and taken" in caplog.text
    finally:
        server.stop(time.monotonic() + 5)


@pytest.fixture
def certificate(tmp_path):
    """Makes a certificate and its key; the key may be encrypted."""
    return partial(make_certificate, tmp_path)


def test_handshakes_that_do_not_end_are_few_and_end_soon(serve, certificate):
    server, _, _ = serve(**certificate())
    address = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:
        hanging = []
        for _ in range(3 * MAX_HANDSHAKES):
            hanging.append(stack.enter_context(socket.create_connection(address)))
            hanging[-1].sendall(b"\x16\x03\x01\x02\x00")
        context = ssl._create_unverified_context()
        url = f"https://127.0.0.1:{server.port}/healthz"
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            assert answer.read() == b"ok\n"
        assert len(server._server._handshakes) <= MAX_HANDSHAKES
        for connection in hanging:
            connection.settimeout(HANDSHAKE_S + 2)
            assert _is_closed(connection)


def test_an_encrypted_key_is_a_configuration_error_and_nobody_is_asked(certificate):
    options = certificate(serialization.BestAvailableEncryption(b"secret"))
    with pytest.raises(ConfigError, match=r"http\.tls_key: .* is encrypted: decrypt it"):
        HttpServer(Http(port=0, **options), Metrics(), HealthBoard())


@pytest.mark.parametrize("key", ["token_file", "tls_cert", "tls_key"])
@pytest.mark.parametrize("what", ["pipe", "device", "huge"])
def test_what_is_no_ordinary_file_is_a_configuration_error(key, what, certificate, tmp_path):
    path = tmp_path / "odd"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    options = certificate() | {key: str(path)}
    with pytest.raises(ConfigError, match=f"http.{key}: cannot read"):
        HttpServer(Http(port=0, **options), Metrics(), HealthBoard())


@pytest.mark.parametrize("key", ["token_file", "tls_cert"])
def test_a_missing_file_is_a_configuration_error(key, tmp_path):
    options = {key: str(tmp_path / "absent")}
    if key == "tls_cert":
        options["tls_key"] = options[key]
    with pytest.raises(ConfigError, match=f"http.{key}: cannot read"):
        HttpServer(Http(port=0, **options), Metrics(), HealthBoard())


def test_a_certificate_that_is_none_is_a_configuration_error(tmp_path):
    for name in ("cert", "key"):
        (tmp_path / name).write_text("no PEM")
    options = Http(port=0, tls_cert=str(tmp_path / "cert"), tls_key=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=r"http\.tls_cert: .* set a matching pair"):
        HttpServer(options, Metrics(), HealthBoard())


def test_who_must_log_in_for_the_page_needs_a_token_for_metrics(serve, certificate, tmp_path):
    everywhere = {"host": "0.0.0.0", "users_file": str(tmp_path / "users.toml")}
    server, *_ = serve(**everywhere, **certificate())
    context = ssl._create_unverified_context()
    for path, status in (("/metrics", 401), ("/readyz", 401), ("/healthz", 200)):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=5, context=context
        )
        connection.request("GET", path)
        assert connection.getresponse().status == status
        connection.close()
