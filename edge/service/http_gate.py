"""The HTTP gate: only connections that have sent the head of a request reach the web server.

Whoever connects and says nothing waits here, where a connection costs a file descriptor and a few
hundred bytes, and is closed a second later. When the gate is full, the oldest one goes, of the
address that has the most, so a scraper always finds a place. Those who have sent a whole head are
let in as places become free: addresses take turns, each in the order of its requests. Methods that
change something, which only the API takes, are refused at the gate elsewhere; those of the API wait
beside the others, whom they do not hold up.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from edge.allowance import Allowance

HEAD_S: Final = 1.0  # for the whole head of a request
MAX_HEAD_BYTES: Final = 16384
MAX_VISITORS: Final = 1024  # more than the backlog, so that the newest has its turn
ACCEPTS_PER_S: Final = 4000  # the backlog has 512: the wait of who comes last
ACCEPT_AT_ONCE: Final = 64
WAIT_S: Final = 0.005  # for a place
OTHER_METHODS: Final = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
REFUSAL: Final = (
    b"HTTP/1.1 405 Method Not Allowed\r\nallow: GET, HEAD\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


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
        has_place: Whether one more can be taken over, while that many are on their way; of those
            that change something, or of the others.
        encrypted: Whether the web server speaks TLS: the first bytes let a visitor in then.
        changing: What the addresses begin with that take methods that change something; empty where
            none do.
    """

    def __init__(
        self,
        listener: socket.socket,
        enter: Callable[[socket.socket, bytes], Awaitable[None]],
        has_place: Callable[[int, bool], bool],
        *,
        encrypted: bool,
        changing: bytes = b"",
    ) -> None:
        self._changing = changing
        self._listener = listener
        self._enter = enter
        self._has_place = has_place
        self._encrypted = encrypted
        self._loop = asyncio.get_running_loop()
        self._visitors: dict[socket.socket, _Visitor] = {}  # oldest first
        # Those with a whole head, by host and whether they change something; whose turn it is
        # comes first.
        self._queues: dict[tuple[str, bool], deque[_Visitor]] = {}
        self._entering: Counter[bool] = Counter()  # by whether they change something
        self._waiting: asyncio.TimerHandle | None = None
        self._allowance = Allowance(4 * ACCEPT_AT_ONCE, ACCEPTS_PER_S)
        self._tasks: set[asyncio.Future[None]] = set()
        self._places = min(MAX_VISITORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._is_accepting = True
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    @property
    def is_busy(self) -> bool:
        """Whether somebody is on the way in."""
        return bool(self._visitors or self._queues or self._tasks)

    def stop_accepting(self) -> None:
        """Let nobody in any more but those who have connected already."""
        if not self._is_accepting:
            return
        self._is_accepting = False
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def close(self) -> None:
        """Stop to accept; close who waits."""
        self.stop_accepting()
        if self._waiting:
            self._waiting.cancel()
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
            self._loop.call_later(0.01, self._accept_again)
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

    def _accept_again(self) -> None:
        if self._is_accepting:
            self._loop.add_reader(self._listener, self._accept)

    def _read(self, connection: socket.socket) -> None:
        visitor = self._visitors[connection]
        changes = False
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
            changes = bytes(visitor.head[:8]).partition(b" ")[0] in OTHER_METHODS
            if changes and not self._may_change(visitor.head):
                with contextlib.suppress(OSError):
                    connection.send(REFUSAL)
                self._close(visitor)
                return
        self._loop.remove_reader(connection)
        self._queues.setdefault((visitor.host, changes), deque()).append(visitor)
        if not self._waiting:
            self._let_in()

    def _may_change(self, head: bytearray) -> bool:
        """Whether something can be changed at the address of a request."""
        target = bytes(head[:300]).partition(b" ")[2]
        return bool(self._changing) and target.startswith(self._changing)

    def _let_in(self) -> None:
        """Let in as many as there are places for, and come back for the others."""
        self._waiting = None
        full = set[bool]()
        while key := next((key for key in self._queues if key[1] not in full), None):
            host, changes = key
            queue = self._queues[key]
            visitor = queue[0]
            if visitor.connection in self._visitors:  # it was not closed meanwhile
                # Who shakes hands takes no place yet.
                if not self._has_place(0 if self._encrypted else self._entering[changes], changes):
                    full.add(changes)
                    continue
                del self._visitors[visitor.connection]
                self._start(visitor, changes)
                self._queues[host, changes] = self._queues.pop(key)  # the others' turn
            queue.popleft()
            if not queue:
                del self._queues[key]
        if self._queues:
            self._waiting = self._loop.call_later(WAIT_S, self._let_in)

    def _start(self, visitor: _Visitor, changes: bool) -> None:
        """Hand a visitor over."""
        task = asyncio.ensure_future(self._enter(visitor.connection, bytes(visitor.head)))
        self._entering[changes] += 1
        self._tasks.add(task)

        def end(task: asyncio.Future[None]) -> None:
            self._entering[changes] -= 1
            self._tasks.discard(task)

        task.add_done_callback(end)

    def _close(self, visitor: _Visitor) -> None:
        self._loop.remove_reader(visitor.connection)
        del self._visitors[visitor.connection]
        visitor.connection.close()
