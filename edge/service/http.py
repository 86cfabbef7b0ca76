"""HTTP: /metrics, /healthz, /readyz, and the page with its API where there is one.

Slow clients are disconnected; a new one finds a place. Those that last have places of their own,
who watch without an end some and who download or enroll others: they are never in a scraper's way,
and stay as long as they take bytes. Nobody has more than a share of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import hmac
import logging
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge.config import Http
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.repeated_warning import RepeatedWarnings
from edge.service.health import HealthBoard
from edge.service.http_gate import OTHER_METHODS, HttpGate
from edge.service.metrics import Metrics
from edge.web.ports import Stay

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
TURN_S = 0.25  # in which a whole request is answered rather than dropped for another
HANDSHAKE_S = 2.0  # of TLS
ENTER_S = 1.0  # for those who have connected to send their requests, when another takes over
TICK_S = 0.01
LEAVE_S = 0.05  # in which connections that were hung up are closed
_TLS_TIMEOUTS_S = {"ssl_handshake_timeout": HANDSHAKE_S}
if sys.version_info >= (3, 11):  # before, a closing peer may take its time
    _TLS_TIMEOUTS_S["ssl_shutdown_timeout"] = HANDSHAKE_S
BACKLOG = 512  # who does not find a place there asks again after a second
MAX_HANDSHAKES = 64  # at a time
COLLECT_EVERY = 256  # handshakes
MAX_FILE_BYTES = 1 << 20  # of a token, a certificate chain, a key
STALL_S = 10.0  # in which a viewer must take some bytes
MAX_MESSAGE_BYTES = 4096  # that a viewer sends by WebSocket
MAX_CHANGES = 16  # requests at a time that change something, beside the others
SHARES = 4  # one user, or one address, has no more of the places that last
MIN_SHARE = 4  # places, where there are few
REMEDY = "close a page, wait for downloads, or raise http.max_viewers"
API = b"/api/v1/"
PEER_FAULTS = (  # how uvicorn tells of refused upgrades, and of text that is none
    "ASGI callable returned without completing handshake",
    "Invalid UTF-8 sequence",
    "Cancel ",  # what still ran at the stop
)
REFUSAL = "a bearer token is required: see http.token_file\n"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class _Place:
    """A connection with a place: an ordinary one, or that of one that lasts.

    Attributes:
        refuse: Tells why there is no place to stay for what is named, for whom; empty if there is.
        has_change_place: Tells whether the changes that are asked for are not too many.
        stays: What it lasts for; None for an ordinary one.
        who: To whom a place that lasts is given.
        is_change: Whether it asks for a change, and may send a body for that.
    """

    transport: Any
    socket: Any = None
    client: tuple[str, int] | None
    refuse: Callable[[Stay, str], str]
    has_change_place: Callable[[], bool]
    stays: Stay | None = None
    who = ""
    is_change = False
    since_s = 0.0
    _waits_since_s = 0.0  # since when its answer does not come, or nothing of it is taken
    _waiting_bytes = 0

    @property
    def host(self) -> str:
        """Where it comes from."""
        return self.client[0] if self.client else ""

    def stay(self, why: Stay, who: str) -> str:
        """Take a place that lasts; why there is none, or nothing."""
        problem = "" if self.stays else self.refuse(why, who)
        if not (self.stays or problem):
            self.stays, self.who = why, who
            self._waits_since_s = 0.0
        return problem

    def hang_up(self) -> None:
        """End it at once, also where TLS takes leave of a peer that does not answer.

        A TLS transport that is closed twice cannot be aborted any more.
        """
        with contextlib.suppress(OSError, AttributeError):
            self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def is_deaf(self) -> bool:
        """Whether its answer is not taken."""
        return False

    def had_its_turn(self, now_s: float) -> bool:
        """Whether it may make room: it is deaf, or its answer has been long in coming."""
        return self.is_deaf or now_s - self.since_s > TURN_S

    def check(self, now_s: float) -> None:
        """Drop a viewer who takes nothing of what waits for it, or is slow to leave."""
        is_closing = self.transport.is_closing()  # then a TLS transport may have no buffer any more
        waiting_bytes = 0 if is_closing else self.transport.get_write_buffer_size()
        moves = waiting_bytes < self._waiting_bytes or waiting_bytes == 0
        self._waiting_bytes = waiting_bytes
        self._expect(now_s, idle=moves and not is_closing, patience_s=STALL_S)

    def _expect(self, now_s: float, *, idle: bool, patience_s: float) -> None:
        """Drop a connection that has not been idle for too long."""
        if idle:
            self._waits_since_s = 0.0
        elif not self._waits_since_s:
            self._waits_since_s = now_s
        elif now_s - self._waits_since_s > patience_s:
            self.transport.abort()


class _Protocol(_Place, H11Protocol):
    """HTTP/1.1 on a connection whose first bytes have been read already."""

    head = b""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's transport
        self.since_s, self.socket = time.monotonic(), transport.get_extra_info("socket")
        self.app = _Introduction(self.app, self)
        super().connection_made(transport)
        if self.head:
            self.data_received(self.head)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        super().data_received(data)
        if not self.is_change and self.scope and self.scope["method"].encode() in OTHER_METHODS:
            self.is_change = True
            if self.transport.get_extra_info("sslcontext") and not self.has_change_place():
                self.transport.abort()  # the gate could not see what it asks for

    @property
    def is_deaf(self) -> bool:
        """Whether its answer is not taken."""
        return bool(self.flow.write_paused)

    def timeout_keep_alive_handler(self) -> None:
        """Called by uvicorn when no further request came; what was not read is dropped."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn at what is not HTTP, which may be the body of a request in hand."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # it has no answer any more
            if self.cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)

    def handle_websocket_upgrade(self, event: Any) -> None:  # noqa: ANN401 - of h11
        """Called by uvicorn at a request for a WebSocket, whose protocol takes over."""
        earlier = set(self.connections)
        super().handle_websocket_upgrade(event)
        for connection in self.connections - earlier:
            if isinstance(connection, _WebSocket):
                connection.refuse = self.refuse

    def check(self, now_s: float) -> None:
        """Drop a connection whose request did not come, or whose response was not taken in time."""
        if self.stays:
            super().check(now_s)
            return
        if self.cycle is None and now_s - self.since_s > REQUEST_TIMEOUT_S:
            self.transport.abort()
        busy = self.cycle is not None and not self.cycle.response_complete
        idle = not (busy or self.transport.is_closing())
        self._expect(now_s, idle=idle, patience_s=REQUEST_TIMEOUT_S)


class _PeerFaults(logging.Filter):
    """Leaves out what a peer can cause as often as it likes, what was answered, and the stop."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        error = record.exc_info[1] if record.exc_info else None
        is_stop = isinstance(error, asyncio.CancelledError)
        return not (is_stop or record.getMessage().startswith(PEER_FAULTS))


_PEER_FAULTS = _PeerFaults()


class _WebSocket(_Place, WebSocketsSansIOProtocol):
    """A WebSocket. It is an ordinary connection until it becomes a viewer, which it must soon."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's transport
        self.since_s, self.socket = time.monotonic(), transport.get_extra_info("socket")
        self.app = _Introduction(self.app, self)
        super().connection_made(transport)

    def check(self, now_s: float) -> None:
        """Drop a connection that is no viewer in time, or one that takes nothing."""
        if self.stays:
            super().check(now_s)
        elif now_s - self.since_s > REQUEST_TIMEOUT_S:
            self.transport.abort()


class _Introduction:
    """An application that is told whose connection a request came by."""

    def __init__(self, app: Any, connection: _Place) -> None:  # noqa: ANN401 - uvicorn's types
        self._app = app
        self._connection = connection

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """ASGI."""
        scope["edge.connection"] = self._connection
        await self._app(scope, receive, send)


class _UvicornServer(uvicorn.Server):
    """A server behind a gate, which marks its progress ten times per second.

    Attributes:
        hands_over: Whether another one takes over its address when it ends.
    """

    def __init__(
        self, config: uvicorn.Config, listen: Callable[[], socket.socket | None], options: Http,
        changing: bytes,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self.progress_s = 0.0
        self.hands_over = False
        self._listen = listen
        self._places = options.max_connections
        self._viewers = options.max_viewers
        self._changing = changing
        self._gate: HttpGate | None = None
        self._ended = 0  # handshakes
        self._handshakes: dict[socket.socket, str] = {}  # and from where, oldest first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Called by uvicorn; connections come from the gate."""
        await super().startup(sockets=[])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn at the end."""
        if self._gate:
            if self.hands_over:
                await self._finish_entering(self._gate)
            self._gate.close()
        for connection in self._connections():
            if connection.stays and isinstance(connection, _Protocol):
                connection.transport.abort()  # what it is sent has no end
        await super().shutdown(sockets)
        for connection in self._connections():
            connection.hang_up()
        await asyncio.sleep(LEAVE_S)

    async def _finish_entering(self, gate: HttpGate) -> None:
        """Take the requests of those who have connected, for another server listens from now on."""
        gate.stop_accepting()
        until_s = time.monotonic() + ENTER_S
        while time.monotonic() < until_s and (gate.is_busy or self._is_expecting()):
            gate.sweep()
            await asyncio.sleep(TICK_S)

    def _is_expecting(self) -> bool:
        """Whether a request is yet to come from somebody who is in."""
        return any(
            isinstance(c, _Protocol) and c.cycle is None and not c.transport.is_closing()
            for c in self._connections()
        )

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn; True ends the server."""
        now_s = self.progress_s = time.monotonic()
        if self._gate:
            self._gate.sweep()
        elif counter % 10 == 0 and (listener := self._listen()):
            self._gate = HttpGate(
                listener, self._enter, self._has_place, encrypted=self.config.is_ssl,
                changing=self._changing,
            )  # fmt: skip
        for connection in self._connections():
            connection.check(now_s)
        return await super().on_tick(counter)

    def _connections(self) -> list[_Place]:
        return [c for c in self.server_state.connections if isinstance(c, _Place)]

    def _refuse(self, why: Stay, who: str) -> str:
        """Why nobody, or not somebody, can have one more place that lasts; empty if they can."""
        taken = Counter(c.who for c in self._connections() if c.stays == why)
        share = max(self._viewers // SHARES, MIN_SHARE)
        if taken.total() >= self._viewers:
            return f"all {self._viewers} places for {why} are taken: {REMEDY}"
        if taken[who] >= share:
            return f"{who} has {share} of {self._viewers} places for {why}, the most: {REMEDY}"
        return ""

    def _has_place(self, entering: int, changes: bool) -> bool:
        """Whether one more can be served, beside those that enter.

        If not, one that had its turn goes, of the address with most of them: the oldest, but one
        that is deaf before one whose answer may be late because of us.
        """
        connections = [
            c
            for c in self._connections()
            if c.is_change is changes and not (c.stays or c.transport.is_closing())
        ]
        places = (MAX_CHANGES if changes else self._places) - entering
        if len(connections) < places:
            return True
        now_s = time.monotonic()
        hosts = Counter(c.host for c in connections)
        connections.sort(key=lambda c: (-hosts[c.host], not c.is_deaf, c.since_s))
        leaving = next((c for c in connections if c.had_its_turn(now_s)), None)
        if leaving:
            leaving.transport.abort()
        return len(connections) - (leaving is not None) < places

    async def _enter(self, connection: socket.socket, head: bytes) -> None:
        """Serve a connection."""
        loop = asyncio.get_running_loop()
        protocol = _Protocol(self.config, self.server_state, self.lifespan.state, loop)
        protocol.head = head
        protocol.refuse = self._refuse
        protocol.has_change_place = lambda: self._has_place(-1, changes=True)  # it is in already
        with contextlib.suppress(OSError):  # it is gone, or does not speak TLS
            if self.config.ssl:
                await self._shake_hands(connection, protocol)
            else:
                await loop.connect_accepted_socket(lambda: protocol, connection)

    async def _shake_hands(self, connection: socket.socket, protocol: _Protocol) -> None:
        """Begin TLS; as many do that at a time as without it may wait for a request.

        Raises:
            OSError: The peer is gone, does not speak TLS, or had to make room.
        """
        try:
            host = str(connection.getpeername()[0])
        except OSError:
            connection.close()
            raise
        if len(self._handshakes) >= MAX_HANDSHAKES:
            hosts = Counter(self._handshakes.values())
            oldest = max(self._handshakes, key=lambda c: hosts[self._handshakes[c]])
            del self._handshakes[oldest]
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # its handshake fails and closes it
        self._handshakes[connection] = host
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self.config.ssl,
                **_TLS_TIMEOUTS_S,
            )
        finally:
            self._handshakes.pop(connection, None)
            self._ended += 1
            if self._ended % COLLECT_EVERY == 0:
                gc.collect()  # each leaves 130 KiB in a reference cycle


class _Exposition:
    """The text of /metrics; rendering it never takes more than a fifth of the time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._text = b""
        self._until_s = 0.0

    def render(self) -> bytes:
        """The text, rendered anew unless that was done a moment ago."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            self._text = self._metrics.render()
            rendered_s = time.monotonic()
            self._until_s = rendered_s + 4 * (rendered_s - now_s)
        return self._text


def create_app(
    metrics: Metrics,
    health: HealthBoard,
    token: str = "",
    page: ASGIApp | None = None,
    *,
    needs_token: bool = False,
) -> Starlette:
    """Create the application; /metrics and /readyz require ``token`` if there is one.

    ``page`` answers everything else. With ``needs_token`` nobody sees them where there is none.
    """

    def is_refused(request: Request) -> bool:
        if needs_token and not token:
            return True
        sent = request.headers.get("authorization", "").encode("latin-1")  # as it was decoded
        return bool(token) and not hmac.compare_digest(sent, f"Bearer {token}".encode())

    exposition = _Exposition(metrics)

    async def show_metrics(request: Request) -> Response:
        if is_refused(request):
            return PlainTextResponse(REFUSAL, 401)
        return Response(exposition.render(), headers={"content-type": EXPOSITION})

    async def show_health(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
        return PlainTextResponse("ok\n")

    async def show_readiness(request: Request) -> Response:
        if is_refused(request):
            return PlainTextResponse(REFUSAL, 401)
        ready = health.is_ready()
        cameras = {
            status.camera: {
                "ready": health.delivers(status),
                "state": status.state,
                "reason": status.reason,
                "reason_code": status.reason_code,
                "since": status.at_s,
            }
            for status in health.states()
        }
        body = {
            "ready": ready,
            "models": health.models_loaded,
            "broken_models": health.broken_models,
            "broken_sinks": health.broken_sinks,
            "gallery": health.gallery_problem or health.suspension,
            "stuck": health.stuck,
            "cameras": cameras,
        }
        return JSONResponse(body, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
            *([Mount("/", page)] if page else []),
        ]
    )


class HttpServer:
    """The server, in a thread of its own.

    Args:
        page: The page with its API; None for metrics and health alone.

    Attributes:
        identity: See `identify`.

    Raises:
        ConfigError: A file of the options cannot be read.
    """

    def __init__(
        self, options: Http, metrics: Metrics, health: HealthBoard, page: ASGIApp | None = None
    ) -> None:
        token = _read("http.token_file", options.token_file).strip()
        if options.token_file and not token:
            raise ConfigError(
                f"{options.token_file} is empty: write a token", key="http.token_file"
            )
        _check_tls(options)
        self.identity = identify(options)
        self._options = options
        self._warnings = RepeatedWarnings(log)
        self._first: socket.socket | None = None
        self._listener: socket.socket | None = None
        self.port = 0
        self._server = _UvicornServer(
            uvicorn.Config(
                create_app(metrics, health, token, page, needs_token=options.needs_token),
                ws=_WebSocket if page else "none",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # video is compressed already
                lifespan="off",
                proxy_headers=False,  # who is asking is what the connection says
                log_config=None,
                access_log=False,
                server_header=False,
                headers=[("connection", "close")],  # a scrape is one request; nobody queues many
                timeout_keep_alive=int(REQUEST_TIMEOUT_S),
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=16384,
                ssl_certfile=options.tls_cert or None,
                ssl_keyfile=options.tls_key or None,
            ),
            self._take_listener,
            options,
            API if page else b"",
        )
        logging.getLogger("uvicorn.error").addFilter(_PEER_FAULTS)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def claim(self) -> None:
        """Take the address before anything is served.

        Raises:
            ConfigError: It is in use or does not belong to this machine.
        """
        self._first = self._note(listen(self._options.host, self._options.port))

    def follow(self, former: HttpServer) -> None:
        """Serve those who connect to the address of another server, which ends."""
        with contextlib.suppress(OSError):  # it does not listen
            if former._listener:
                self._first = self._note(former._listener.dup())

    def start(self) -> None:
        """Start to serve; a port that is not free yet is taken when it is."""
        self._first = self._first or self._listen()
        self._server.progress_s = time.monotonic()
        self._thread.start()

    def stop(self, deadline_s: float, *, hands_over: bool = False) -> None:
        """Stop serving, and wait for that until ``deadline_s`` on the monotonic clock.

        Who has connected to one that ``hands_over`` its address is answered first.
        """
        self._server.hands_over = hands_over
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(max(deadline_s - time.monotonic(), 0))
        if self._first:
            self._first.close()

    def _take_listener(self) -> socket.socket | None:
        """The socket of the start, or a new attempt."""
        listener, self._first = self._first, None
        if listener is None and (listener := self._listen()):
            log.info("http port %d is free now, and taken", self.port)
        return listener

    def _listen(self) -> socket.socket | None:
        try:
            listener = listen(self._options.host, self._options.port)
        except ConfigError as error:
            self._warnings.tell("http does not listen", f"{error}; it is tried again")
            self._warnings.sum_up()
            return None
        return self._note(listener)

    def _note(self, listener: socket.socket) -> socket.socket:
        self._listener = listener
        self.port = listener.getsockname()[1]
        return listener

    def is_alive(self, max_silence_s: float = 10) -> bool:
        """Whether the server's thread runs and made progress recently."""
        recent = time.monotonic() - self._server.progress_s <= max_silence_s
        return self._thread.is_alive() and recent

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[]))


def identify(options: Http) -> tuple[Http, bytes]:
    """What a server is made of: its options, and a hash of the files they name.

    Raises:
        ConfigError: One cannot be read.
    """
    names = ("token_file", "tls_cert", "tls_key")
    contents = [_read(f"http.{name}", getattr(options, name)) for name in names]
    return options, hashlib.sha256("\0".join(contents).encode()).digest()


def prepare_address(server: HttpServer, options: Http, running: Http) -> None:
    """Check that a server can listen where another one does not, and take its address if free.

    Raises:
        ConfigError: The address is in use or does not belong to this machine.
    """
    if options.host == running.host and options.port == running.port:
        return  # it follows the one that runs
    if options.port == running.port and options.port:
        listen(options.host, 0).close()  # the port itself is free when the other one has ended
    else:
        server.claim()


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
        listener.listen(BACKLOG)
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
                options.tls_cert, options.tls_key, _refuse_password
            )
        except ConfigError as error:
            raise ConfigError(
                f"{options.tls_key} is encrypted: decrypt it, for example with "
                "openssl pkey -in KEY -out NEW, and protect the file by its mode",
                key="http.tls_key",
            ) from error
        except ssl.SSLError as error:
            raise ConfigError(
                f"{options.tls_cert} and {options.tls_key} are not a certificate "
                f"and its key in PEM ({error.reason}): set a matching pair",
                key="http.tls_cert",
            ) from error


def _refuse_password() -> str:
    """Asked for by OpenSSL when a key is encrypted, in place of its prompt at the terminal."""
    raise ConfigError


def _read(key: str, path: str) -> str:
    if not path:
        return ""
    try:
        return read_input(Path(path), MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path} ({error}): check the path", key=key) from error
