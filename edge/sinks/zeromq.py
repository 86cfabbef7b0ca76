"""Publishes over ZeroMQ: ``[topic, payload]`` or ``[topic, payload, jpeg]`` on an XPUB socket.

A late subscriber gets the last status of the cameras and the live tracks at once. ZeroMQ cannot
address one subscriber alone, so other subscribers of the topic receive them again; such messages
have ``"cached": true`` and keep their old ``seq``. Several late subscribers are answered together,
at most every `ANSWER_EVERY_S`.

A slow subscriber loses messages beyond its high-water mark and never blocks others.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import zmq
from pydantic import Field, ValidationInfo, field_validator

from edge.config import Table
from edge.errors import SinkError
from edge.wire.last_value_cache import LastValueCache
from edge.wire.schema import Format, Message, encode

ANSWER_EVERY_S = 0.1
MAX_SUBSCRIBED_BYTES = 1 << 20  # not limited by ZeroMQ; one trie node per byte, about 48 MB
READ_EVERY_S = 0.05  # how often a busy sink reads subscriptions; an idle one reads at once
MAX_REQUESTS = 20_000  # per read; more is treated as a flooding attempt
PEER_PING_MS = 5_000  # a subscriber that vanished is dropped after two


class Options(Table):
    """A ZeroMQ XPUB socket that subscribers connect to.

    Attributes:
        bind: `tcp://HOST:PORT` (PORT `*` picks a free one), `ipc://PATH` or `inproc://NAME`.
        insecure: Allow a bind that other machines can reach, without encryption or keys.
        sndhwm: Messages that may wait for one slow subscriber before it loses some. Raising it
            bridges longer stalls and costs memory per subscriber.
        linger_ms: How long to wait for slow subscribers at the end, in milliseconds.
        max_message_bytes: Longest message a peer may send, that is its subscriptions and its
            handshake; a peer that exceeds it is disconnected.
        handshake_ms: Disconnect a peer that has not completed the handshake by then, in
            milliseconds.
        format: `json`, or `msgpack`, which is not smaller, for readers that prefer it.
    """

    insecure: bool = False  # comes first because the validator of bind reads it
    bind: str = Field(default="tcp://127.0.0.1:5555", validate_default=True)
    sndhwm: int = Field(default=1000, ge=1, le=1_000_000)
    linger_ms: int = Field(default=500, ge=0, le=5000)
    max_message_bytes: int = Field(default=512, ge=256, le=1 << 20)
    handshake_ms: int = Field(default=5000, ge=100, le=60_000)
    format: Format = "json"

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, bind: str, info: ValidationInfo) -> str:
        if re.fullmatch(r"(ipc|inproc)://.+", bind):
            return bind
        tcp = re.fullmatch(r"tcp://(\[[^\]]+\]|[^:/\[\]]+):(\d{1,5}|\*)", bind)
        if not tcp or (tcp[2] != "*" and int(tcp[2]) > 65535):
            raise ValueError(
                f"{bind!r} cannot be bound: use tcp://HOST:PORT, ipc://PATH or inproc://NAME"
            )
        if not _is_loopback(tcp[1].strip("[]")) and not info.data.get("insecure"):
            raise ValueError(
                f"{bind!r} would show everything to the network: "
                "bind tcp://127.0.0.1:PORT, or set insecure = true"
            )
        return bind


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # `*`, an interface, a name
        return False


class ZeromqSink:
    """An XPUB socket with a last-value cache.

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
        self._answered_s = float("-inf")
        self._read_s = float("-inf")
        self._subscribed: Counter[bytes] = Counter()  # by prefix
        self._subscribed_bytes = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Bind; at the end wait up to ``linger_ms`` for slow subscribers.

        Raises:
            SinkError: It cannot be bound.
        """
        inproc = self.endpoint.startswith("inproc:")  # needs the context of its subscribers
        context: zmq.Context[zmq.Socket[bytes]] = (
            zmq.Context.instance() if inproc else zmq.Context()
        )
        try:
            with context.socket(zmq.XPUB) as socket:
                self._prepare(socket)
                self._bind(socket)
                self._socket = socket
                self._subscribed.clear()
                self._subscribed_bytes = 0
                yield
        finally:
            self._requested.clear()
            if not inproc:
                context.term()

    def send(self, messages: Sequence[Message]) -> None:
        """Publish; never blocks.

        Raises:
            SinkError: The socket is broken or flooded with subscriptions.
        """
        format_ = self._options.format
        for message in messages:
            self._last.update(message)
            self._put(message.topic, encode(message.body, format_), message.jpeg)
        if self._monotonic_s() - self._read_s >= READ_EVERY_S:
            self.idle()

    def idle(self) -> None:
        """Read subscriptions; send cached messages to late subscribers.

        Raises:
            SinkError: The socket is broken or flooded with subscriptions.
        """
        self._read_s = self._monotonic_s()
        with _translate_errors(self.endpoint):
            self._read_subscriptions()
        if self._requested and self._monotonic_s() - self._answered_s >= ANSWER_EVERY_S:
            self._answered_s = self._monotonic_s()
            for topic in sorted(self._requested):
                for message in self._last.messages(topic):
                    self._put(topic, encode(message.body, self._options.format), None)
            self._requested.clear()

    def _prepare(self, socket: zmq.Socket[bytes]) -> None:
        options = self._options
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # pass on every subscription and its end
        socket.setsockopt(zmq.SNDHWM, options.sndhwm)
        socket.setsockopt(zmq.LINGER, options.linger_ms)
        socket.setsockopt(zmq.MAXMSGSIZE, options.max_message_bytes)
        socket.setsockopt(zmq.HANDSHAKE_IVL, options.handshake_ms)
        socket.setsockopt(zmq.HEARTBEAT_IVL, PEER_PING_MS)
        socket.setsockopt(zmq.IPV6, int("[" in options.bind))

    def _bind(self, socket: zmq.Socket[bytes]) -> None:
        with _translate_errors(self.endpoint):
            socket.bind(self.endpoint)
            self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _put(self, topic: str, payload: bytes, jpeg: bytes | None) -> None:
        parts = [topic.encode(), payload] if jpeg is None else [topic.encode(), payload, jpeg]
        with _translate_errors(self.endpoint):
            self._socket.send_multipart(parts, zmq.DONTWAIT)

    def _read_subscriptions(self) -> None:
        """Count what peers subscribe to; note which topics are cached."""
        for _ in range(MAX_REQUESTS):
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            request = self._socket.recv(zmq.DONTWAIT)
            if request[:1] == b"\x01":
                self._add(request[1:])
            elif request[:1] == b"\x00":
                self._remove(request[1:])
            if self._subscribed_bytes > MAX_SUBSCRIBED_BYTES:
                break
        raise SinkError(
            f"{self.endpoint} is flooded with subscriptions: all subscribers are disconnected; "
            "find the one that subscribes to too much"
        )

    def _add(self, prefix: bytes) -> None:
        self._subscribed[prefix] += 1
        self._subscribed_bytes += len(prefix) + 1
        self._requested.update(self._last.find_topics(prefix))

    def _remove(self, prefix: bytes) -> None:
        if prefix in self._subscribed:  # a peer may cancel what it never requested
            self._subscribed_bytes -= len(prefix) + 1
            self._subscribed[prefix] -= 1
            if not self._subscribed[prefix]:
                del self._subscribed[prefix]


_REMEDIES: dict[int, str] = {
    zmq.EADDRINUSE: "stop the program that uses it, or bind another port",
    zmq.EADDRNOTAVAIL: "bind an address of this machine",
}


@contextmanager
def _translate_errors(endpoint: str) -> Iterator[None]:
    try:
        yield
    except zmq.ZMQError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check bind")
        raise SinkError(f"{endpoint}: {zmq.strerror(error.errno or 0)}: {remedy}") from error


def build(options: Options) -> ZeromqSink:
    """Create the sink that options describe."""
    return ZeromqSink(options)
