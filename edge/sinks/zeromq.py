"""Publishes over ZeroMQ: ``[topic, payload]`` or ``[topic, payload, jpeg]`` on an XPUB socket.

A late subscriber gets the last status of the cameras and the live tracks at once. ZeroMQ cannot
address one subscriber alone, so other subscribers of the topic receive them again; such messages
have ``"cached": true`` and keep their old ``seq``. Several late subscribers are answered together,
at most every `ANSWER_EVERY_S`.

A slow subscriber loses messages beyond its high-water mark and never blocks others. One that asks
for too much is disconnected by `edge.wire.subscriber_guard`, alone. The sink is a subscriber of
its own, so that it notices when what it sends does not arrive.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq
from pydantic import Field, ValidationInfo, field_validator, model_validator

from edge.compat import Self
from edge.config import Table, is_loopback
from edge.errors import ConfigError, SinkError
from edge.wire.key_pair import read_key_pair
from edge.wire.key_ring import KeyRing
from edge.wire.last_value_cache import LastValueCache
from edge.wire.listener import listen
from edge.wire.schema import Format, Message, encode
from edge.wire.self_test import SelfTest
from edge.wire.sink import Sink
from edge.wire.subscriber_guard import (
    Limits,
    SubscriberCounts,
    SubscriberGuard,
    parse_join,
)
from edge.wire.topics import HEARTBEAT

ANSWER_EVERY_S = 0.05
ANSWER_MESSAGE_S = 0.004  # a longer answer makes the next one wait: all subscribers receive it
READ_EVERY_S = 0.05  # how often a busy sink reads subscriptions; an idle one reads at once
MAX_REQUESTS = 1000  # per read
MIN_INNER_HWM = 1000
PEER_PING_MS = 5_000  # a subscriber that vanished is dropped after two
SELF_TEST = b"self-test/"
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared, not bound

log = logging.getLogger(__name__)


class Options(Table):
    """A ZeroMQ XPUB socket that subscribers connect to.

    Attributes:
        bind: `tcp://HOST:PORT` (PORT `*` picks a free one), `ipc://PATH` or `inproc://NAME`.
        insecure: Allow a bind that other machines can reach, without encryption or keys.
        key_file: The node's CURVE key; empty encrypts nothing. With it, only clients whose keys are
            authorized are served: see [Let others subscribe](../how-to/let-others-subscribe.md).
        clients_file: Whose keys are authorized: `edge keys authorize` writes it, a change counts
            at once.
        sndhwm: Messages that may wait for one slow subscriber before it loses some, up to 8 MiB
            each and 32 MiB for all. Raising it bridges longer stalls and costs memory.
        max_subscribers: Subscribers that may be connected at a time. A further one is refused,
            unless one that has not read for long, or an address that has more, makes room. A peer
            that asks for more than 512 subscriptions, or 16 KiB of them, is disconnected.
        linger_ms: How long to wait for slow subscribers at the end, in milliseconds.
        max_message_bytes: Longest message a peer may send, that is its subscriptions and its
            handshake; a peer that exceeds it is disconnected.
        handshake_ms: Disconnect a peer that has not completed the handshake by then, in
            milliseconds.
        format: `json`, or `msgpack`, which is not smaller, for readers that prefer it.
    """

    insecure: bool = False  # these come first because the validator of bind reads them
    key_file: str = ""
    clients_file: str = ""
    bind: str = Field(default="tcp://127.0.0.1:5555", validate_default=True)
    sndhwm: int = Field(default=1000, ge=1, le=1_000_000)
    max_subscribers: int = Field(default=64, ge=1, le=4096)
    linger_ms: int = Field(default=500, ge=0, le=5000)
    max_message_bytes: int = Field(default=512, ge=256, le=1 << 20)
    handshake_ms: int = Field(default=5000, ge=100, le=60_000)
    format: Format = "json"

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, bind: str, info: ValidationInfo) -> str:
        if re.fullmatch(r"(ipc|inproc)://.+", bind):
            return bind
        tcp = re.fullmatch(r"tcp://(\[[^\]]+\]|[^:/\[\]]+):([0-9]{1,5}|\*)", bind)
        if not tcp or (tcp[2] != "*" and int(tcp[2]) > 65535):
            raise ValueError(
                f"{bind!r} cannot be bound: use tcp://HOST:PORT, ipc://PATH or inproc://NAME"
            )
        is_open = not (info.data.get("insecure") or info.data.get("key_file"))
        if is_open and not is_loopback(tcp[1].strip("[]")):
            raise ValueError(
                f"{bind!r} would show everything to the network: "
                "set key_file and clients_file, bind tcp://127.0.0.1:PORT, or set insecure = true"
            )
        return bind

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if bool(self.key_file) != bool(self.clients_file):
            raise ValueError("key_file and clients_file belong together: set both")
        if self.key_file and self.bind.startswith("inproc:"):
            raise ValueError("inproc:// stays within the process: leave key_file out")
        return self

    def collides_with(self, other: Options) -> bool:
        """Whether both cannot be bound at a time; each gets a free port of its own for ``*``."""
        (transport, host, port), theirs = _split_bind(self.bind), _split_bind(other.bind)
        if transport != theirs[0] or port != theirs[2] or port == 0:
            return False
        return host == theirs[1] or (
            port > 0 and ANY_IPV4 in (host, theirs[1]) and (_is_ipv4(host) and _is_ipv4(theirs[1]))
        )


def _split_bind(bind: str) -> tuple[str, str, int]:
    """``(transport, place, port)``; the port is 0 for a free one, -1 where there are none."""
    transport, _, place = bind.partition("://")
    if transport != "tcp":
        return transport, os.path.abspath(place) if transport == "ipc" else place, -1  # noqa: PTH100
    host, _, port = place.rpartition(":")
    known = {"localhost": "127.0.0.1", "*": ANY_IPV4}
    return transport, known.get(host.lower(), host.lower()), int(port) if port != "*" else 0


def _is_ipv4(host: str) -> bool:
    return re.fullmatch(r"[0-9.]+", host) is not None


class ZeromqSink:
    """An XPUB socket with a last-value cache, behind a subscriber guard.

    Attributes:
        endpoint: The address, with the real port once it was open.
    """

    def __init__(self, options: Options, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Create the sink without a socket; ``monotonic_s`` paces answers to late subscribers."""
        self.endpoint = options.bind
        self._options = options
        self._monotonic_s = monotonic_s
        self._last = LastValueCache()
        self._requested: set[str] = set()  # topics that late subscribers wait for
        self._answer_s = float("-inf")  # when the next answer is due
        self._read_s = float("-inf")
        self._socket: zmq.Socket[bytes]
        self._hurry: Callable[[], None] = lambda: None
        self._guard: SubscriberGuard | None = None
        self._self_test: SelfTest | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Bind; at the end wait up to ``linger_ms`` for slow subscribers.

        Raises:
            SinkError: It cannot be bound.
        """
        self._requested.clear()
        if self.endpoint.startswith("inproc:"):  # subscribers of this process, in its context
            shared: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
            with shared.socket(zmq.XPUB) as socket:
                self._socket = socket
                self._prepare(socket, self._options.sndhwm)
                with _translate_errors(self.endpoint):
                    socket.bind(self.endpoint)
                yield
        else:
            with self._open_guarded():
                yield

    @contextmanager
    def _open_guarded(self) -> Iterator[None]:
        """A socket that only this process reaches, and the guard at the public address."""
        options, token = self._options, SELF_TEST + secrets.token_hex(16).encode()
        keys = _read_keys(options)
        limits = Limits(
            options.max_subscribers,
            options.sndhwm,
            options.max_message_bytes,
            options.handshake_ms / 1000,
            options.linger_ms / 1000,
        )
        with ExitStack() as stack:
            with _translate_errors(self.endpoint):
                listener, self.endpoint = stack.enter_context(listen(self.endpoint))
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-"))
            inner = f"{folder}/bus"
            guard = SubscriberGuard(
                listener, inner, limits, token, keys=keys, on_request=self._hurry
            )
            guard.start()
            stack.callback(guard.stop)
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            stack.callback(_terminate, context, options.linger_ms / 1000)
            self._socket = stack.enter_context(context.socket(zmq.XPUB))
            # messages wait in the guard, which counts the ones that it drops
            self._prepare(self._socket, max(options.sndhwm, MIN_INNER_HWM))
            with _translate_errors(self.endpoint):
                self._socket.bind(f"ipc://{inner}")
            self._self_test = stack.enter_context(
                SelfTest(context, self.endpoint, token, self._monotonic_s, keys=keys)
            )
            self._guard = guard
            how = f", encrypted; the node's public CURVE key {keys.server.public}" if keys else ""
            log.info("subscribers connect to %s%s", self.endpoint, how)
            stack.callback(self._forget_guard)
            yield

    def _forget_guard(self) -> None:
        self._guard = self._self_test = None

    def send(self, messages: Sequence[Message]) -> None:
        """Publish; never blocks.

        Raises:
            SinkError: The socket is broken.
        """
        format_ = self._options.format
        for message in messages:
            self._last.update(message)
            self._put(message.topic, encode(message.body, format_), message.jpeg)
            if self._self_test and message.topic == HEARTBEAT:
                self._self_test.expect()
        if self._monotonic_s() - self._read_s >= READ_EVERY_S:
            self.idle()

    def idle(self) -> None:
        """Read subscriptions; send cached messages to late subscribers.

        Raises:
            SinkError: The socket is broken, or does not deliver what is sent.
        """
        now_s = self._read_s = self._monotonic_s()
        if self._guard and self._self_test:
            self._guard.check()
            self._self_test.check()
        with _translate_errors(self.endpoint):
            self._read_requests()
        if self._requested and now_s >= self._answer_s:
            answered = 0
            for topic in sorted(self._requested):
                for message in self._last.messages(topic):
                    answered += 1
                    self._put(topic, encode(message.body, self._options.format), None)
            self._requested.clear()
            self._answer_s = now_s + max(ANSWER_EVERY_S, answered * ANSWER_MESSAGE_S)

    def on_hurry(self, hurry: Callable[[], None]) -> None:
        """What to call when somebody has subscribed."""
        self._hurry = hurry

    def inherit(self, former: Sink) -> None:
        """Know what the former sink would have told late subscribers."""
        if isinstance(former, ZeromqSink):
            self._last = former._last  # noqa: SLF001 - of its own kind

    def count_subscribers(self) -> SubscriberCounts:
        """What happened to subscribers since the last count."""
        return self._guard.count() if self._guard else SubscriberCounts(0, {}, 0)

    def _prepare(self, socket: zmq.Socket[bytes], sndhwm: int) -> None:
        options = self._options
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # pass on every subscription
        socket.setsockopt(zmq.SNDHWM, sndhwm)
        socket.setsockopt(zmq.LINGER, options.linger_ms)
        socket.setsockopt(zmq.MAXMSGSIZE, options.max_message_bytes)
        socket.setsockopt(zmq.HANDSHAKE_IVL, options.handshake_ms + 1000)  # the guard is first
        socket.setsockopt(zmq.HEARTBEAT_IVL, PEER_PING_MS)

    def _put(self, topic: str, payload: bytes, jpeg: bytes | None) -> None:
        parts = [topic.encode(), payload] if jpeg is None else [topic.encode(), payload, jpeg]
        with _translate_errors(self.endpoint):
            self._socket.send_multipart(parts, zmq.DONTWAIT)

    def _read_requests(self) -> None:
        """Note which cached topics peers subscribe to."""
        for _ in range(MAX_REQUESTS):
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                break
            request = self._socket.recv(zmq.DONTWAIT)
            number = parse_join(request[1:])
            if self._guard and number is not None:
                self._guard.confirm(number)
            elif request[:1] == b"\x01" and request != b"\x01":
                self._note(request[1:])
        for prefix in self._guard.take_requests() if self._guard else ():
            self._note(prefix)

    def _note(self, prefix: bytes) -> None:
        """Note that a peer has subscribed."""
        self._requested.update(self._last.find_topics(prefix))


def _terminate(context: zmq.Context[zmq.Socket[bytes]], linger_s: float) -> None:
    """End a context; leave one behind whose thread stands still, so that a new one can start."""
    ending = threading.Thread(target=context.term, name="ending ZeroMQ", daemon=True)
    ending.start()
    ending.join(linger_s + 1)
    if ending.is_alive():
        log.error("ZeroMQ does not end; its threads and sockets are left behind")


def _read_keys(options: Options) -> KeyRing | None:
    """The keys of an encrypted socket.

    Raises:
        SinkError: They cannot be read.
    """
    if not options.key_file:
        return None
    try:
        server = read_key_pair(Path(options.key_file).expanduser())
        return KeyRing(server, Path(options.clients_file).expanduser())
    except ConfigError as error:
        raise SinkError(str(error)) from error


_REMEDIES: dict[int, str] = {
    zmq.EADDRINUSE: "stop the program that uses it, or bind another port",
    zmq.EADDRNOTAVAIL: "bind an address of this machine",
}


@contextmanager
def _translate_errors(endpoint: str) -> Iterator[None]:
    try:
        yield
    except (zmq.ZMQError, OSError) as error:
        remedy = _REMEDIES.get(error.errno or 0, "check bind")
        problem = error.strerror or str(error)
        raise SinkError(f"{endpoint}: {problem}: {remedy}") from error


def build(options: Options) -> ZeromqSink:
    """Create the sink that options describe."""
    return ZeromqSink(options)
