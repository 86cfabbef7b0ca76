"""HTTP: /metrics, /healthz, /readyz. Slow clients are disconnected, surplus ones refused."""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.config import Http
from edge.errors import ConfigError
from edge.service.health import HealthBoard
from edge.service.metrics import Metrics
from edge.types import CameraState

REQUEST_TIMEOUT_S = 5.0
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class _TimeoutProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection which has not sent its request in time."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's transport
        super().connection_made(transport)
        if len(self.connections) > (self.limit_concurrency or 0):
            transport.abort()
        else:
            self.loop.call_later(REQUEST_TIMEOUT_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()


class _UvicornServer(uvicorn.Server):
    """A server that marks its progress ten times per second."""

    progress_s = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn; True ends the server."""
        self.progress_s = time.monotonic()
        return await super().on_tick(counter)


def create_app(metrics: Metrics, health: HealthBoard, token: str = "") -> Starlette:
    """Create the web application; /metrics and /readyz require ``token`` if there is one."""

    def is_refused(request: Request) -> bool:
        sent = request.headers.get("authorization", "").encode()
        return bool(token) and not hmac.compare_digest(sent, f"Bearer {token}".encode())

    async def show_metrics(request: Request) -> Response:
        if is_refused(request):
            return PlainTextResponse("a bearer token is required\n", 401)
        return Response(metrics.render(), headers={"content-type": EXPOSITION})

    async def show_health(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
        return PlainTextResponse("ok\n")

    async def show_readiness(request: Request) -> Response:
        if is_refused(request):
            return PlainTextResponse("a bearer token is required\n", 401)
        ready = health.is_ready()
        cameras = {
            status.camera: {
                "ready": status.state is CameraState.ONLINE,
                "state": status.state,
                "reason": status.reason,
                "since": status.at_s,
            }
            for status in health.states()
        }
        body = {
            "ready": ready,
            "models": health.models_loaded,
            "broken_models": health.broken_models,
            "broken_sinks": health.broken_sinks,
            "stuck": health.stuck,
            "cameras": cameras,
        }
        return JSONResponse(body, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
        ]
    )


class HttpServer:
    """The server, in a thread of its own.

    Raises:
        ConfigError: The port is in use, or a file of the options cannot be read.
    """

    def __init__(self, options: Http, metrics: Metrics, health: HealthBoard) -> None:
        token = _read("http.token_file", options.token_file).strip()
        if options.token_file and not token:
            raise ConfigError(
                f"{options.token_file} is empty: write a token", key="http.token_file"
            )
        _check_tls(options)
        self._socket = listen(options.host, options.port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _UvicornServer(
            uvicorn.Config(
                create_app(metrics, health, token),
                http=_TimeoutProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=options.max_connections,
                timeout_keep_alive=int(REQUEST_TIMEOUT_S),
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=16384,
                ssl_certfile=options.tls_cert or None,
                ssl_keyfile=options.tls_key or None,
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Start to serve."""
        self._server.progress_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Stop serving within a second or two."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(2)
        self._socket.close()

    def is_alive(self, max_silence_s: float = 10) -> bool:
        """Whether the server's thread runs and made progress recently."""
        recent = time.monotonic() - self._server.progress_s <= max_silence_s
        return self._thread.is_alive() and recent

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        ConfigError: The address is in use or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another "
            "host or port, or stop the program that uses it",
            key="http.port",
        ) from error
    return listener


def _check_tls(options: Http) -> None:
    """Load certificate and key, so that a mistake is found before anything starts."""
    for key, file in (("tls_cert", options.tls_cert), ("tls_key", options.tls_key)):
        _read(f"http.{key}", file)
    if options.tls_cert:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                options.tls_cert, options.tls_key
            )
        except ssl.SSLError as error:
            raise ConfigError(
                f"{options.tls_cert} and {options.tls_key} are not a certificate "
                f"and its key in PEM ({error.reason}): set a matching pair",
                key="http.tls_cert",
            ) from error


def _read(key: str, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path} ({error}): check the path", key=key) from error
