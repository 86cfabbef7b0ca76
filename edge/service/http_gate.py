"""The HTTP gate: only connections that have sent the head of a request reach the web server.

Whoever connects and says nothing waits here, where a connection costs a file descriptor and a few
hundred bytes, and is closed a second later. When the gate is full, the oldest one goes, of the
address that has the most, so a scraper always finds a place.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from edge.allowance import Allowance

HEAD_S: Final = 1.0  # for the whole head of a request
MAX_HEAD_BYTES: Final = 16384
MAX_VISITORS: Final = 1024  # more than the backlog, so that the newest has its turn
ACCEPTS_PER_S: Final = 2000
ACCEPT_AT_ONCE: Final = 64


@dataclass(slots=True, eq=False)
class _Visitor:
    """A connection that has not sent a whole head yet."""

    connection: socket.socket
    host: str
    since_s: float
    head: bytearray = field(default_factory=bytearray)


class HttpGate:
    """Accepts on a listening socket, in the thread of its event loop.

    Args:
        enter: Takes over a connection, with what it has sent.
        encrypted: Whether the web server speaks TLS: the first bytes let a visitor in then.
    """

    def __init__(
        self,
        listener: socket.socket,
        enter: Callable[[socket.socket, bytes], Awaitable[None]],
        *,
        encrypted: bool,
    ) -> None:
        self._listener = listener
        self._enter = enter
        self._encrypted = encrypted
        self._loop = asyncio.get_running_loop()
        self._visitors: dict[socket.socket, _Visitor] = {}  # oldest first
        self._allowance = Allowance(4 * ACCEPT_AT_ONCE, ACCEPTS_PER_S)
        self._tasks: set[asyncio.Future[None]] = set()
        self._places = min(MAX_VISITORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop to accept; close who waits."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for visitor in list(self._visitors.values()):
            self._close(visitor)

    def sweep(self) -> None:
        """Close who has not sent a head in time; call it often."""
        now_s = time.monotonic()
        for visitor in list(self._visitors.values()):
            if now_s - visitor.since_s <= HEAD_S:
                break
            self._close(visitor)

    def _accept(self) -> None:
        now_s = time.monotonic()
        if self._allowance.is_exhausted(now_s):
            self._loop.remove_reader(self._listener)
            self._loop.call_later(0.01, self._loop.add_reader, self._listener, self._accept)
            return
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, (host, *_) = self._listener.accept()
            except BlockingIOError:
                break
            except OSError:  # no file descriptors left, or the peer is gone
                self._allowance.spend(ACCEPTS_PER_S / 10, now_s)
                break
            self._allowance.spend(1, now_s)
            connection.setblocking(False)
            self._visitors[connection] = _Visitor(connection, host, now_s)
            self._loop.add_reader(connection, self._read, connection)
        while len(self._visitors) > self._places:
            hosts = Counter(visitor.host for visitor in self._visitors.values())
            greediest, _ = hosts.most_common(1)[0]
            self._close(next(v for v in self._visitors.values() if v.host == greediest))

    def _read(self, connection: socket.socket) -> None:
        visitor = self._visitors[connection]
        if not self._encrypted:
            try:
                data = connection.recv(MAX_HEAD_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            visitor.head += data
            if not data or len(visitor.head) > MAX_HEAD_BYTES:
                self._close(visitor)
                return
            if b"\n\r\n" not in visitor.head and b"\n\n" not in visitor.head:
                return
        self._loop.remove_reader(connection)
        del self._visitors[connection]
        task = asyncio.ensure_future(self._enter(connection, bytes(visitor.head)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close(self, visitor: _Visitor) -> None:
        self._loop.remove_reader(visitor.connection)
        del self._visitors[visitor.connection]
        visitor.connection.close()
