"""The subscriber guard: stands before ZeroMQ and cuts off the subscriber that asks for too much.

libzmq keeps a trie node for each byte of each subscription, in the sender's thread and without any
limit, so one peer can stop a publisher for minutes. The guard listens in its place and hands each
connection on to libzmq, which is bound where only this process reaches it. A peer's subscriptions
stay here, counted and bounded; libzmq is asked for everything in its name, and what it did not
subscribe to is left out on the way back. Here is also where messages wait for a slow peer, so that
losses are counted and memory is bounded in bytes.

libzmq still speaks the protocol, but for encryption: with a `KeyRing` only peers that speak CURVE
and have a key of it are served, and what passes is opened and sealed here (`edge.wire.curve`). A
key that is revoked closes its connections.

A thread of its own does all of it. What a peer may make it do is paced, so that a flood costs the
rest of the process nearly nothing.
"""

from __future__ import annotations

import itertools
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from edge.allowance import Allowance
from edge.errors import SinkError, translate_unexpected
from edge.repeated_warning import RepeatedWarnings
from edge.wire import curve
from edge.wire.curve import CurveServer, UnauthorizedError
from edge.wire.key_pair import encode_key
from edge.wire.key_ring import KeyRing
from edge.wire.zmtp import (
    GREETING_BYTES,
    SIGNATURE_BYTES,
    VERSION_BYTES,
    Frame,
    FrameReader,
    ProtocolError,
    check_greeting,
    make_frame,
    make_greeting,
    parse_mechanism,
)

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS: Final = 512  # of one peer
MAX_PEER_BYTES: Final = 16 << 10  # of one peer's subscriptions
MAX_ENTERING: Final = 128  # connections that have not finished their handshake
MAX_SILENT: Final = 16  # that have, and subscribe to nothing
MAX_TOPICS: Final = 4096  # whose match is remembered
MAX_WAITING_BYTES: Final = 8 << 20  # for one peer
MAX_ALL_WAITING_BYTES: Final = 32 << 20  # shared evenly
MAX_COMMANDS: Final = 2048  # answers to pings that wait for one peer
READ_BYTES: Final = 4096  # from a peer at a time
RELAY_BYTES: Final = 64 << 10  # to a peer at a time
FRAME_COST: Final = 64  # a frame other than a subscription counts as that many bytes more
BURST_BYTES: Final = 32 << 10  # that a peer may send at once, and ...
BYTES_PER_S: Final = 8 << 10  # ... in the long run
ACCEPT_BURST: Final = 128
ACCEPTS_PER_S: Final = 400
TICK_S: Final = 0.05
ESTABLISHED_S: Final = 3.0  # a subscriber that reads for so long keeps its place
MAX_STRANGERS: Final = 64  # keys that are told one by one; the others share a line
STALLED_S: Final = 5.0  # one that is behind for so long may lose it
_STRANGER = "its CURVE key {key} is not authorized: see edge keys authorize"
_ABORT = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: reset the connection, forget what was not sent


@dataclass(frozen=True, slots=True)
class Limits:
    """What the guard allows.

    Attributes:
        max_subscribers: Peers that are connected at a time.
        max_waiting: Messages that may wait for one peer.
        max_frame_bytes: Longest frame that a peer may send.
        handshake_s: Seconds in which a peer must have introduced itself.
        linger_s: Seconds that a peer has for what waits when libzmq closes its connection.
    """

    max_subscribers: int = 64
    max_waiting: int = 1000
    max_frame_bytes: int = 512
    handshake_s: float = 5.0
    linger_s: float = 0.5


@dataclass(frozen=True, slots=True)
class SubscriberCounts:
    """What happened to subscribers.

    Attributes:
        connected: Subscribers that are connected now.
        cut: Subscribers that were disconnected since the last count, by reason.
        dropped: Messages that slow subscribers lost since the last count.
    """

    connected: int
    cut: dict[str, int]
    dropped: int


def format_join(number: int) -> bytes:
    """The prefix by which libzmq tells that a peer has joined; no topic begins like this."""
    return b"\xffjoined/%d" % number


def parse_join(prefix: bytes) -> int | None:
    """The number of the peer that has joined; None for another prefix."""
    start, _, number = prefix.partition(b"/")
    return int(number) if start == b"\xffjoined" and number.isdigit() else None


class CutError(Exception):
    """A peer must be disconnected; the message says what it did."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(slots=True, eq=False)
class _Peer:
    """One connection: to the subscriber (``outer``) and on to libzmq (``inner``).

    Attributes:
        number: Its own number.
        host: Where it comes from.
        requests: What it has subscribed to since it was last asked.
        asked: Whether libzmq was asked for everything in its name.
        joined: Whether libzmq sends it everything by now.
        matches: Whether it subscribed to a topic, by topic.
        curve: How it encrypts, where it must.
        greeting: Its first bytes, until they are 64.
        opening: What the guard itself says to it, before anything else and as it is.
        messages: Whole messages that wait for it, oldest first; ``commands`` overtake them.
        writing: What is being written to it.
        upward: What is being written to libzmq.
        place_s: Since when it has subscriptions, and with them a place.
        behind_s: Since when it has not taken all that waits.
        close_at_s: Once libzmq has closed its side: when to close this one at the latest.
    """

    number: int
    outer: socket.socket
    host: str
    since_s: float
    frames: FrameReader
    inner: socket.socket | None = None
    entered: bool = False
    curve: CurveServer | None = None
    own: bool = False
    greeting: bytes = b""
    opening: bytearray = field(default_factory=bytearray)
    subscriptions: Counter[bytes] = field(default_factory=Counter)
    subscribed_bytes: int = 0
    requests: set[bytes] = field(default_factory=set)
    asked: bool = False
    joined: bool = False
    matches: dict[bytes, bool] = field(default_factory=dict)
    answers: FrameReader = field(default_factory=lambda: FrameReader(1 << 40))
    greeting_left: int = GREETING_BYTES  # of libzmq's
    parts: list[bytes] = field(default_factory=list)  # of a message from libzmq
    wanted: bool = True
    messages: deque[bytes] = field(default_factory=deque)
    commands: deque[bytes] = field(default_factory=deque)
    waiting_bytes: int = 0
    writing: memoryview = field(default_factory=lambda: memoryview(b""))
    upward: bytearray = field(default_factory=bytearray)
    allowance: Allowance = field(default_factory=lambda: Allowance(BURST_BYTES, BYTES_PER_S))
    paused: bool = False
    place_s: float = 0.0
    behind_s: float = float("inf")
    close_at_s: float = float("inf")

    def has_place(self) -> bool:
        """Whether it is a subscriber, as far as can be seen."""
        return self.entered and not self.own and bool(self.subscriptions)

    def is_established(self, now_s: float) -> bool:
        """Whether it has read for a while, and reads."""
        return now_s - self.place_s > ESTABLISHED_S and now_s - self.behind_s < STALLED_S

    def is_idle(self) -> bool:
        """Whether nothing waits for it."""
        return not (self.writing or self.opening or self.messages or self.commands)


class SubscriberGuard:
    """Accepts subscribers on a listening socket and connects each to libzmq.

    Args:
        listener: The public socket; the guard closes it.
        inner_path: The Unix socket that libzmq is bound to.
        token: A prefix by which the process's own subscriber is known: it is neither counted nor
            disconnected.
        keys: Whose keys are served, encrypted; None serves everybody in plain text.
        on_request: Called, in a thread of the guard, when a peer has subscribed.
    """

    def __init__(
        self,
        listener: socket.socket,
        inner_path: str,
        limits: Limits,
        token: bytes = b"",
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        keys: KeyRing | None = None,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._keys = keys
        self._on_request = on_request
        self._listener = listener
        self._inner_path = inner_path
        self._limits = limits
        self._token = token
        self._monotonic_s = monotonic_s
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, _Peer] = {}  # by outer socket, oldest first
        self._numbers = itertools.count(1)
        self._accepts = Allowance(ACCEPT_BURST, ACCEPTS_PER_S)
        self._accepting = False
        self._lock = threading.Lock()
        self._cut: Counter[str] = Counter()
        self._dropped = 0
        self._warnings = RepeatedWarnings(log, monotonic_s=monotonic_s)
        self._strangers: set[bytes] = set()  # keys that were told
        self._stopping = threading.Event()
        self._stop_at_s = float("inf")
        self._wake, self._waker = socket.socketpair()
        self._error: SinkError | None = None
        self._thread = threading.Thread(target=self._run, name="subscriber guard", daemon=True)

    def start(self) -> None:
        """Start to accept subscribers."""
        self._listener.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Deliver what waits for up to ``linger_s``, then disconnect everybody."""
        self._stop_at_s = self._monotonic_s() + self._limits.linger_s
        self._stopping.set()
        with suppress(OSError):  # it may have ended by itself meanwhile
            self._waker.send(b"\0")
        self._thread.join(self._limits.linger_s + 2)
        self._waker.close()

    def check(self) -> None:
        """Raise for a thread that died.

        Raises:
            SinkError: It did.
        """
        if self._error:
            raise self._error

    def count(self) -> SubscriberCounts:
        """What happened since the last count."""
        with self._lock:
            cut, self._cut = dict(self._cut), Counter()
            dropped, self._dropped = self._dropped, 0
        peers = list(self._peers.values())
        return SubscriberCounts(sum(peer.has_place() for peer in peers), cut, dropped)

    def confirm(self, number: int) -> None:
        """Libzmq has the subscription of this peer: what it asks for can be answered."""
        for peer in list(self._peers.values()):
            if peer.number == number:
                peer.joined = True

    def take_requests(self) -> list[bytes]:
        """The prefixes that were subscribed to since the last call, by peers that have joined."""
        taken: list[bytes] = []
        for peer in list(self._peers.values()):
            if peer.joined and peer.requests:
                requests, peer.requests = peer.requests, set()
                taken += requests
        return taken

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with translate_unexpected(
                lambda error: SinkError(f"the subscriber guard failed: {error!r}")
            ):
                while not self._is_finished():
                    self._turn()
        except SinkError as error:
            log.exception("the subscriber guard failed")
            self._error = error
        finally:
            self._listener.close()
            for peer in list(self._peers.values()):
                self._close(peer)
            self._selector.close()
            self._wake.close()

    def _is_finished(self) -> bool:
        if not self._stopping.is_set():
            return False
        idle = all(peer.is_idle() and not peer.inner for peer in self._peers.values())
        return idle or self._monotonic_s() >= self._stop_at_s

    def _turn(self) -> None:
        """Serve every socket that is ready, then what time brings."""
        self._pace(self._monotonic_s())
        for key, events in self._selector.select(TICK_S):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake:
                self._wake.recv(16)
            else:
                self._serve(key, events)

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        peer: _Peer = key.data
        if peer.outer not in self._peers:  # closed in this turn
            return
        outer = key.fileobj is peer.outer
        try:
            if events & selectors.EVENT_WRITE:
                (self._write if outer else self._write_inner)(peer)
            if events & selectors.EVENT_READ:
                (self._read_outer if outer else self._read_inner)(peer)
        except CutError as error:
            self._disconnect(peer, error.reason, str(error))
        except ProtocolError as error:
            self._disconnect(peer, "protocol", str(error))
        except OSError:  # it is gone
            self._close(peer)
        else:
            self._watch(peer)

    def _pace(self, now_s: float) -> None:
        """Let paused peers go on, end what takes too long or is revoked, sum up what repeats."""
        if self._keys:
            self._keys.refresh(now_s)
        accepting = not self._stopping.is_set() and not self._accepts.is_exhausted(now_s)
        if accepting != self._accepting:
            self._accepting = accepting
            if accepting:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)
        for peer in list(self._peers.values()):
            if peer.paused and not peer.allowance.is_exhausted(now_s):
                peer.paused = False
                self._watch(peer)
            if not peer.entered and now_s - peer.since_s > self._limits.handshake_s:
                self._disconnect(peer, "handshake", "it did not finish its handshake")
            elif self._is_revoked(peer):
                problem = f"the key of {peer.curve.client} is revoked" if peer.curve else ""
                self._disconnect(peer, "revoked", problem)
            elif now_s > peer.close_at_s:
                self._close(peer)
        self._warnings.sum_up()

    def _is_revoked(self, peer: _Peer) -> bool:
        """Whether it was let in by a key that is no longer authorized, or is another's now."""
        if not (self._keys and peer.curve and peer.curve.client):
            return False
        return self._keys.authorize(peer.curve.key) != peer.curve.client

    def _watch(self, peer: _Peer) -> None:
        """Ask the selector for what the peer needs next."""
        if peer.outer not in self._peers:
            return
        reads = not (peer.paused or peer.upward)
        self._select(peer.outer, peer, reads=reads, writes=not peer.is_idle())
        if peer.inner:
            self._select(peer.inner, peer, reads=True, writes=bool(peer.upward))

    def _select(self, side: socket.socket, peer: _Peer, *, reads: bool, writes: bool) -> None:
        events = reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE
        known = self._selector.get_map().get(side)
        if known is None:
            if events:
                self._selector.register(side, events, peer)
        elif not events:
            self._selector.unregister(side)
        elif known.events != events:
            self._selector.modify(side, events, peer)

    # --- connections ------------------------------------------------------------------------------

    def _accept(self) -> None:
        now_s = self._monotonic_s()
        for _ in range(16):  # then the others have their turn
            try:
                outer, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptors left, or the peer is gone
                self._accepts.spend(ACCEPTS_PER_S / 10, now_s)
                return
            self._accepts.spend(1, now_s)
            outer.setblocking(False)
            if outer.family != socket.AF_UNIX:
                outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host = str(address[0]) if outer.family != socket.AF_UNIX else "this machine"
            longest = self._limits.max_frame_bytes + (curve.OVERHEAD if self._keys else 0)
            peer = _Peer(next(self._numbers), outer, host, now_s, FrameReader(longest))
            if self._keys:
                peer.curve = CurveServer(self._keys.secret, self._keys.authorize)
                peer.opening += peer.curve.greeting[:VERSION_BYTES]
            self._peers[outer] = peer
            self._watch(peer)
            entering = [peer for peer in self._peers.values() if not peer.entered]
            if len(entering) > MAX_ENTERING:
                hosts = Counter(peer.host for peer in entering)
                oldest = max(entering, key=lambda peer: hosts[peer.host])  # the first of those
                self._disconnect(oldest, "handshake", "it did not finish its handshake in time")

    def _connect(self, peer: _Peer) -> None:
        """Connect a peer that speaks ZMTP to libzmq."""
        peer.inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.inner.setblocking(False)
        peer.inner.connect(self._inner_path)

    def _enter(self, peer: _Peer) -> None:
        """The handshake is done; who subscribes to nothing has a place only among a few."""
        peer.entered = True
        silent = [p for p in self._peers.values() if p.entered and not (p.own or p.subscriptions)]
        if len(silent) > MAX_SILENT:
            hosts = Counter(peer.host for peer in silent)
            oldest = max(silent, key=lambda peer: hosts[peer.host])  # the first of those
            self._disconnect(oldest, "full", "too many are connected that subscribe to nothing")

    def _take_place(self, peer: _Peer) -> None:
        """Give a new subscriber a place, if need be that of one that deserves it less.

        Who has read for a while keeps the place, unless the address holds two more than the
        newcomer's does: then the newest from there goes.

        Raises:
            CutError: There is none for it.
        """
        now_s = peer.place_s = self._monotonic_s()
        holders = [other for other in self._peers.values() if other.has_place()]
        if len(holders) <= self._limits.max_subscribers:
            return
        hosts = Counter(holder.host for holder in holders)
        most = max(hosts.values())
        greedy = [holder for holder in holders if hosts[holder.host] == most]
        if most < hosts[peer.host] + 2:
            greedy = holders

        def weigh(holder: _Peer) -> tuple[bool, int, int, float]:
            established = holder.is_established(now_s)
            cost_kib = (holder.subscribed_bytes + holder.waiting_bytes) // 1024
            cost = (hosts[holder.host], cost_kib) if not established else (0, 0)
            return not established, *cost, holder.place_s

        worst = max(greedy, key=weigh)
        places = f"there are {self._limits.max_subscribers} subscribers"
        if worst is peer:
            raise CutError("full", f"{places}, and they read: raise max_subscribers")
        self._disconnect(worst, "full", f"{places}, and others need its place more")

    def _disconnect(self, peer: _Peer, reason: str, problem: str) -> None:
        """Cut a peer off: count it, and say it once."""
        if peer.outer not in self._peers:
            return
        with self._lock:
            self._cut[reason] += 1
            self._dropped += len(peer.messages)
        self._warnings.tell(
            self._name_kind(peer, reason),
            f"a subscriber from {peer.host} is disconnected: {problem}",
        )
        with suppress(OSError):
            peer.outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self._close(peer)

    def _name_kind(self, peer: _Peer, reason: str) -> str:
        """What a warning is told once as: of a few strangers each, so that all keys are seen."""
        kind = f"subscribers disconnected ({reason})"
        key = peer.curve.key if peer.curve else b""
        if not key:
            return kind
        if key not in self._strangers:
            if len(self._strangers) >= MAX_STRANGERS:
                return kind
            self._strangers.add(key)
        return f"{kind} {key.hex()}"

    def _close(self, peer: _Peer) -> None:
        self._peers.pop(peer.outer, None)
        for side in (peer.outer, peer.inner):
            if side is not None:
                with suppress(KeyError, ValueError):
                    self._selector.unregister(side)
                side.close()
        peer.inner = None

    # --- from a subscriber to libzmq --------------------------------------------------------------

    def _read_outer(self, peer: _Peer) -> None:
        try:
            data = peer.outer.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close(peer)
            return
        now_s = self._monotonic_s()
        peer.allowance.spend(len(data), now_s)
        if len(peer.greeting) < GREETING_BYTES:
            data = self._read_greeting(peer, data)
        for frame in peer.frames.read(data):
            if not peer.curve:
                self._take_request(peer, frame, now_s)
            elif peer.curve.client:
                self._take_request(peer, peer.curve.open(frame), now_s)
            else:
                self._shake_hands(peer, peer.curve, frame)
        peer.paused = peer.allowance.is_exhausted(now_s)
        if peer.inner and peer.upward:
            self._write_inner(peer)

    def _read_greeting(self, peer: _Peer, data: bytes) -> bytes:
        """Take what belongs to the greeting; the rest is returned."""
        more = data[: GREETING_BYTES - len(peer.greeting)]
        peer.greeting += more
        check_greeting(peer.greeting)
        if not peer.curve:
            peer.upward += more
            if peer.inner is None and len(peer.greeting) >= SIGNATURE_BYTES:
                self._connect(peer)
        if len(peer.greeting) == GREETING_BYTES:
            self._check_mechanism(peer)
        return data[len(more) :]

    @staticmethod
    def _check_mechanism(peer: _Peer) -> None:
        """Whether a peer encrypts, as it must or must not.

        Raises:
            CutError: It does the other.
        """
        mechanism = parse_mechanism(peer.greeting)
        if peer.curve and mechanism != curve.MECHANISM:
            raise CutError("security", "it does not encrypt: it needs the server's key and its own")
        if not peer.curve and mechanism != b"NULL":
            problem = "it encrypts, and this socket has no key: set key_file and clients_file"
            raise CutError("security", problem)
        if peer.curve:  # not before: who sees at once that it must encrypt goes without a word
            peer.opening += peer.curve.greeting[VERSION_BYTES:]

    def _shake_hands(self, peer: _Peer, server: CurveServer, frame: Frame) -> None:
        """Take a step of an encrypted handshake; at its end the peer meets libzmq.

        Raises:
            CutError: Its key is not authorized.
            ProtocolError: It is no such handshake.
        """
        try:
            answer, properties = server.greet(frame)
        except UnauthorizedError as error:
            key = encode_key(server.key)
            raise CutError("security", _STRANGER.format(key=key)) from error
        peer.opening += answer
        if properties is not None:
            self._connect(peer)
            peer.upward += make_greeting(b"NULL")
            peer.upward += make_frame(b"\5READY" + properties, is_command=True)
            self._enter(peer)
        self._write(peer)

    def _take_request(self, peer: _Peer, frame: Frame, now_s: float) -> None:
        """Keep a subscription; pass on commands.

        Raises:
            CutError: The peer asks for too much.
            ProtocolError: It sends what a subscriber does not send.
        """
        request = frame.find_subscription()
        if request is None:
            if not frame.is_command:
                raise ProtocolError("it sends messages, which a subscriber does not")
            peer.allowance.spend(FRAME_COST, now_s)
            peer.upward += frame.raw
            if frame.command == b"READY" and not peer.entered:
                self._enter(peer)
        elif not peer.entered:
            raise ProtocolError("it subscribes before its handshake")
        elif request[0]:
            self._subscribe(peer, request[1])
        else:
            peer.allowance.spend(FRAME_COST, now_s)
            self._cancel(peer, request[1])

    def _subscribe(self, peer: _Peer, prefix: bytes) -> None:
        if prefix == self._token and prefix:
            peer.own = True
        if not peer.asked:
            peer.asked = True
            peer.upward += make_frame(b"\1") + make_frame(b"\1" + format_join(peer.number))
        is_first = not peer.subscriptions
        peer.subscriptions[prefix] += 1
        peer.subscribed_bytes += len(prefix) + 1
        peer.matches.clear()
        peer.requests.add(prefix)
        self._on_request()
        if is_first and not peer.own:
            self._take_place(peer)
        total = peer.subscriptions.total()
        if total > MAX_SUBSCRIPTIONS or peer.subscribed_bytes > MAX_PEER_BYTES:
            raise CutError(
                "subscriptions",
                f"it has more than {MAX_SUBSCRIPTIONS} subscriptions or {MAX_PEER_BYTES} bytes "
                "of them: subscribe to shorter prefixes",
            )

    @staticmethod
    def _cancel(peer: _Peer, prefix: bytes) -> None:
        if prefix not in peer.subscriptions:  # a peer may cancel what it never asked for
            return
        peer.subscribed_bytes -= len(prefix) + 1
        peer.subscriptions[prefix] -= 1
        if not peer.subscriptions[prefix]:
            del peer.subscriptions[prefix]
            peer.requests.discard(prefix)
            peer.matches.clear()

    def _write_inner(self, peer: _Peer) -> None:
        if peer.inner is None:
            return
        with suppress(BlockingIOError):
            del peer.upward[: peer.inner.send(peer.upward)]

    # --- from libzmq to a subscriber --------------------------------------------------------------

    def _read_inner(self, peer: _Peer) -> None:
        if peer.inner is None:
            return
        try:
            data = peer.inner.recv(RELAY_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._finish(peer)
            return
        if peer.greeting_left:
            greeting, data = data[: peer.greeting_left], data[peer.greeting_left :]
            peer.greeting_left -= len(greeting)
            if not peer.curve:
                peer.opening += greeting
        for frame in peer.answers.read(data):
            if frame.command == b"READY":
                ready = peer.curve.make_ready(frame.body[6:]) if peer.curve else frame.raw
                peer.opening += ready
            else:
                self._queue(peer, frame)
        self._write(peer)

    def _finish(self, peer: _Peer) -> None:
        """The connection to libzmq has ended: deliver what waits, then close."""
        if peer.inner:
            with suppress(KeyError, ValueError):
                self._selector.unregister(peer.inner)
            peer.inner.close()
            peer.inner = None
        if peer.is_idle():
            self._close(peer)
        else:
            peer.close_at_s = self._monotonic_s() + self._limits.linger_s

    def _queue(self, peer: _Peer, frame: Frame) -> None:
        """Let a message wait for its turn, or drop it whole."""
        if frame.is_command:
            if len(peer.commands) >= MAX_COMMANDS:
                raise CutError("protocol", "it sends pings and does not read the answers")
            peer.commands.append(frame.raw)
            return
        if not peer.parts:
            peer.wanted = self._matches(peer, frame.body)
        peer.parts.append(frame.raw)
        if frame.has_more:
            return
        message = b"".join(peer.parts)
        peer.parts.clear()
        if not peer.wanted:
            return
        share = min(MAX_WAITING_BYTES, MAX_ALL_WAITING_BYTES // len(self._peers))
        full = len(peer.messages) >= self._limits.max_waiting
        if full or (peer.messages and peer.waiting_bytes + len(message) > share):
            with self._lock:
                self._dropped += 1
            return
        peer.messages.append(message)
        peer.waiting_bytes += len(message)

    @staticmethod
    def _matches(peer: _Peer, topic: bytes) -> bool:
        """Whether a peer has subscribed to a topic."""
        known = peer.matches.get(topic)
        if known is None:
            if len(peer.matches) >= MAX_TOPICS:
                peer.matches.clear()
            known = peer.matches[topic] = topic.startswith(tuple(peer.subscriptions))
        return known

    def _write(self, peer: _Peer) -> None:
        """Write what the peer takes."""
        while not peer.is_idle():
            if not peer.writing:
                peer.writing = memoryview(self._take(peer))
            try:
                sent = peer.outer.send(peer.writing)
            except BlockingIOError:
                sent = 0
            peer.writing = peer.writing[sent:]
            if peer.writing:
                peer.behind_s = min(peer.behind_s, self._monotonic_s())
                return
        peer.behind_s = float("inf")
        if peer.close_at_s < float("inf"):
            self._close(peer)

    @staticmethod
    def _take(peer: _Peer) -> bytes:
        """The next commands and messages to write, whole ones."""
        if peer.opening:
            opening = bytes(peer.opening)
            peer.opening.clear()
            return opening
        chunk = [*peer.commands]
        peer.commands.clear()
        size = 0
        while peer.messages and size < RELAY_BYTES:
            message = peer.messages.popleft()
            peer.waiting_bytes -= len(message)
            size += len(message)
            chunk.append(message)
        plain = b"".join(chunk)
        return peer.curve.seal(plain) if peer.curve else plain
