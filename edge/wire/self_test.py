"""The self-test of a publisher: a subscriber of its own that must hear each heartbeat.

ZeroMQ sends in a thread that nobody can look at. When it stands still, sending goes on without an
error and nothing arrives; only a subscriber notices.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import zmq

from edge.compat import Self
from edge.errors import SinkError
from edge.wire.key_ring import KeyRing
from edge.wire.listener import make_reachable
from edge.wire.topics import HEARTBEAT

MAX_UNHEARD: Final = 3  # heartbeats, so that a process that stood still accuses nobody
MAX_SILENCE_S: Final = 3.0


class SelfTest:
    """Subscribes to the heartbeats of a public endpoint.

    Args:
        context: Where to create the socket.
        token: A second prefix to subscribe to, by which the guard knows this subscriber.
        keys: Of an encrypted endpoint.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        token: bytes,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        keys: KeyRing | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._monotonic_s = monotonic_s
        self._unheard = 0
        self._since_s = 0.0  # when the first of the unheard heartbeats was sent
        self._socket = context.socket(zmq.SUB)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, 10),
            (zmq.RECONNECT_IVL, 100),
            (zmq.IPV6, int("[" in endpoint)),
        ):
            self._socket.setsockopt(option, value)
        if keys:
            self._socket.curve_serverkey = keys.server.public.encode()
            self._socket.curve_publickey = keys.own.public.encode()
            self._socket.curve_secretkey = keys.own.secret.encode()
        for prefix in (token, HEARTBEAT.encode()):
            self._socket.setsockopt(zmq.SUBSCRIBE, prefix)

    def __enter__(self) -> Self:
        """Connect."""
        self._socket.connect(make_reachable(self._endpoint))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._socket.close()

    def expect(self) -> None:
        """A heartbeat was sent: it must be heard."""
        if self._unheard == 0:
            self._since_s = self._monotonic_s()
        self._unheard += 1

    def check(self) -> None:
        """Take what was heard into account.

        Raises:
            SinkError: Heartbeats are sent and not heard.
        """
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._socket.recv_multipart(zmq.DONTWAIT)
            self._unheard = 0
        silence_s = self._monotonic_s() - self._since_s
        if self._unheard >= MAX_UNHEARD and silence_s >= MAX_SILENCE_S:
            raise SinkError(
                f"{self._endpoint} does not deliver: the node has not heard its own heartbeat for "
                f"{silence_s:.0f} s: it is opened anew"
            )
