"""The HTTP server, for real on loopback: answers, token, slow and surplus clients, TLS."""

import http.client
import json
import socket
import time

import pytest

from edge.config import Http
from edge.errors import ConfigError
from edge.service.health import HealthBoard
from edge.service.http import REQUEST_TIMEOUT_S, HttpServer
from edge.service.metrics import Metrics
from edge.types import CameraState, CameraStatus, StatusReason


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
        server.stop()


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
    health.report(status("door", CameraState.FROZEN))
    assert get(server, "/readyz")[0] == 503


def test_metrics_are_prometheus_text_and_a_removed_camera_disappears(serve):
    server, metrics, _ = serve()
    metrics.camera("door").captured.inc()
    metrics.camera("gate").captured.inc()
    _, text = get(server, "/metrics")
    assert 'edge_capture_frames_total{camera="door"} 1.0' in text
    metrics.forget_camera("door")
    _, text = get(server, "/metrics")
    assert '"door"' not in text
    assert '"gate"' in text


def test_a_token_guards_metrics_and_readiness(serve, tmp_path):
    token = tmp_path / "token"
    token.write_text("tell-nobody\n")
    server, _, _ = serve(token_file=str(token))
    assert get(server, "/metrics")[0] == 401
    assert get(server, "/readyz", {"Authorization": "Bearer wrong"})[0] == 401
    assert get(server, "/metrics", {"Authorization": "Bearer tell-nobody"})[0] == 200
    assert get(server, "/healthz")[0] == 200


def test_a_client_that_sends_nothing_is_cut_off(serve):
    server, _, _ = serve()
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=REQUEST_TIMEOUT_S + 5
    ) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")  # and never the empty line
        assert _is_closed(slow)


def test_surplus_connections_are_closed_and_the_others_served_again(serve):
    server, _, _ = serve(max_connections=4)
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(10)]
    try:
        assert sum(_is_closed(connection) for connection in idle) == 10
    finally:
        for connection in idle:
            connection.close()
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            if get(server, "/healthz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not recover")


def _is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_port_in_use_is_a_configuration_error_with_a_remedy():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"http.port: cannot listen on 127.0.0.1:{port}"):
            HttpServer(Http(port=port), Metrics(), HealthBoard())


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
