"""Replay: what nodes sent, read back from NATS JetStream, and whether any of it is missing.

::

    from edge.replay import Replay

    with Replay("nats://127.0.0.1:4222", since_s=begin, until_s=end) as replay:
        for topic, body in replay:
            print(topic, body.seq)
        for account in replay.account():
            print(account.topic, account.received, account.missing, account.known_until_s)

Messages are numbered from 1 per boot and topic, so every number between two that are known was
sent. Known are the numbers of messages that arrived, and those that a heartbeat names as sent so
far. What lies between and did not arrive is missing, and named. After the last that is known
nobody can tell: `Account.known_until_s` says when that was. The extra ``nats`` is needed.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from edge.compat import UTC, Self
from edge.errors import EdgeError
from edge.fleet.names import name_account, name_gathered
from edge.redaction import redact, show_address
from edge.wire.nats_credentials import choose_options
from edge.wire.schema import Body, HeartbeatMessage, decode_line
from edge.wire.topics import AUDIT, parse_camera, parse_family

MARGIN_S: Final = 30.0  # read before and after a range, for what is known at its edges
FETCH: Final = 256
TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of one topic of one boot within a range of time.

    Attributes:
        received: How many messages arrived.
        repeated: How many arrived more than once; they are returned once.
        missing: First and last number of each piece that was sent and did not arrive.
        known_until_s: Until when everything that was sent is accounted for, Unix time.
    """

    node: str
    boot: str
    topic: str
    received: int
    repeated: int
    missing: tuple[tuple[int, int], ...]
    known_until_s: float

    @property
    def missed(self) -> int:
        """How many numbers are missing."""
        return sum(last - first + 1 for first, last in self.missing)


@dataclass(slots=True)
class _Ledger:
    """The numbers of one topic of one boot.

    Attributes:
        times_s: When each message that arrived was captured, by its number.
        claims: Numbers that were sent so far, by the time of the heartbeat that says so.
    """

    times_s: dict[int, float] = field(default_factory=dict)
    claims: dict[float, int] = field(default_factory=dict)
    repeated: int = 0


class Replay:
    """Reads a range of time; iterate over it inside a ``with``, then ask for the account."""

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        since_s: float,
        until_s: float,
        families: Sequence[str] = (
            "events",
            "faces",
            "states",
            "status",
            "tracks",
            "detections",
        ),
        cameras: Sequence[str] = (),
        site: str = "*",
        node: str = "*",
        stream: str = "EDGE",
        box: str = "",
        credentials_file: str = "",
        tls_ca: str = "",
    ) -> None:
        """Create the replay without connecting.

        Args:
            servers: `nats://HOST:PORT` or `tls://HOST:PORT`.
            since_s: Begin, Unix time.
            until_s: End, Unix time.
            families: Which messages: `events`, `faces`, `states`, `status`, `tracks`,
                `detections`, `audit`.
            cameras: Of which cameras; empty are all.
            site: Where the node is; `*` is everywhere.
            node: Which node; `*` is any.
            stream: Name of the stream.
            box: Read what the hub gathered of this box, instead.
            credentials_file: Credentials for the server (.creds) or a key (.nk).
            tls_ca: Certificate authority of the server; empty uses those of the system.
        """
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._range_s = (since_s, until_s)
        self._families, self._cameras = frozenset(families), frozenset(cameras)
        self._subject = f"edge.{site}.{node}.>"
        self._stream = name_gathered(box) if box else stream
        self._domain = name_account(box) if box else None
        self._credentials_file, self._tls_ca = credentials_file, tls_ca
        self._ledgers: dict[tuple[str, str, str], _Ledger] = {}
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            EdgeError: No server answers.
        """
        try:
            self._client = self._loop.run_until_complete(self._connect())
        except (OSError, nats.errors.Error, asyncio.TimeoutError) as error:
            self._loop.close()
            shown = ", ".join(map(show_address, self._servers))
            problem = redact(str(error)) or "it does not answer"
            raise EdgeError(f"cannot connect to {shown}: {problem}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        if self._client:
            self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def __iter__(self) -> Iterator[tuple[str, Body]]:
        """Topics and bodies in the order of the stream, each message once.

        Raises:
            EdgeError: The stream cannot be read.
        """
        self._ledgers.clear()
        since_s, until_s = self._range_s
        for topic, body in self._read():
            if isinstance(body, HeartbeatMessage):
                self._note_claims(body)
            elif (
                self._wants(topic)
                and self._note(topic, body)
                and since_s <= body.captured_at <= until_s
            ):
                yield topic, body

    def account(self) -> list[Account]:
        """What arrived and what is missing, topic by topic, of all that was read."""
        accounts = [
            _settle(*key, ledger, *self._range_s) for key, ledger in sorted(self._ledgers.items())
        ]
        return [account for account in accounts if account.received or account.missing]

    def _wants(self, topic: str) -> bool:
        camera = parse_camera(topic)
        return parse_family(topic) in self._families and (
            not self._cameras or camera in self._cameras
        )

    def _note(self, topic: str, body: Body) -> bool:
        """Enter a message; False if it was there before."""
        ledger = self._ledgers.setdefault((body.node, body.boot, topic), _Ledger())
        if body.seq in ledger.times_s:
            ledger.repeated += 1
            return False
        ledger.times_s[body.seq] = body.captured_at
        return True

    def _note_claims(self, body: HeartbeatMessage) -> None:
        for topic, seq in body.last_seq.items():
            if self._wants(topic):
                ledger = self._ledgers.setdefault((body.node, body.boot, topic), _Ledger())
                ledger.claims[body.captured_at] = seq

    # --- the stream -------------------------------------------------------------------------------

    async def _connect(self) -> Client:
        client = Client()
        more = choose_options(self._credentials_file)
        if self._tls_ca:
            more["tls"] = ssl.create_default_context(cafile=self._tls_ca)
        await client.connect(
            self._servers, connect_timeout=int(TIMEOUT_S), max_reconnect_attempts=3,
            error_cb=_ignore, **more,
        )  # fmt: skip
        return client

    def _read(self) -> Iterator[tuple[str, Body]]:
        """Every message that the server stored since the range began, margin included.

        To the end, for what waited in a spool is stored later than it was captured.
        """
        assert self._client  # noqa: S101 - it is connected
        run = self._loop.run_until_complete
        stream = self._client.jetstream(timeout=TIMEOUT_S, domain=self._domain)
        try:
            pull = run(self._subscribe(stream))
            read, left = run(_look(pull))
            while left:
                contents, read, left = run(self._fetch(stream, pull, read, left))
                for content in contents:
                    yield from _parse(content)
            run(pull.unsubscribe())
        except (OSError, nats.errors.Error, asyncio.TimeoutError) as error:
            raise EdgeError(f"the stream {self._stream} cannot be read: {error}") from error

    async def _fetch(
        self,
        stream: JetStreamContext,
        pull: JetStreamContext.PullSubscription,
        read: int,
        left: int,
    ) -> tuple[Sequence[bytes], int, int]:
        """The messages after number ``read`` of the stream, the last number, and how many are left.

        The client library takes a header of a stored message for the server's status, and loses
        those that came with it: they are asked for one by one, by answers that keep headers apart.

        Raises:
            nats.errors.Error: Nothing comes.
        """
        count = min(FETCH, left)
        failed: Exception = nats.errors.TimeoutError()
        try:
            batch = await pull.fetch(count, timeout=TIMEOUT_S)
            if len(batch) == count:
                return [m.data for m in batch], batch[-1].metadata.sequence.stream, left - count
        except (nats.js.errors.APIError, KeyError, asyncio.TimeoutError) as error:
            failed = error
        last, remain = await _look(pull)
        if last <= read or remain >= left:
            raise nats.errors.Error(str(failed)) from failed
        found = []
        while read < last:
            try:
                each = await stream.get_msg(self._stream, read + 1, self._subject, next=True)
            except nats.js.errors.NotFoundError:  # it went meanwhile
                break
            read = each.seq or last
            if read <= last:
                found.append(each.data or b"")
        return found, last, remain

    async def _subscribe(self, stream: JetStreamContext) -> JetStreamContext.PullSubscription:
        begin = datetime.fromtimestamp(max(self._range_s[0] - MARGIN_S, 0), UTC)
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_TIME,
            opt_start_time=begin,
        )
        return await stream.pull_subscribe(self._subject, stream=self._stream, config=config)


async def _look(pull: JetStreamContext.PullSubscription) -> tuple[int, int]:
    """Number of the last message that a consumer was sent, and how many are left."""
    info = await pull.consumer_info()
    return info.delivered.stream_seq if info.delivered else 0, info.num_pending or 0


def _parse(content: bytes) -> Iterable[tuple[str, Body]]:
    """The messages of a batch; what is none is left out."""
    for line in content.splitlines():
        try:
            yield decode_line(line)
        except ValueError:
            continue


def _settle(
    node: str, boot: str, topic: str, ledger: _Ledger, since_s: float, until_s: float
) -> Account:
    """Draw up the account of one topic.

    Sent within the range were the numbers after the last that is known to be older, up to the last
    that is known to be in it, or to the one before the first that is younger.
    """
    points = [*((at_s, seq) for seq, at_s in ledger.times_s.items()), *ledger.claims.items()]
    before = max((seq for at_s, seq in points if at_s < since_s), default=0)
    if topic == AUDIT and not before and since_s > 0:  # numbered for years, not per boot
        before = min(ledger.times_s) - 1
    last = max((seq for at_s, seq in points if at_s <= until_s), default=before)
    later = min((seq for seq, at_s in ledger.times_s.items() if at_s > until_s), default=0)
    arrived = sorted(seq for seq in ledger.times_s if before < seq <= max(last, later - 1))
    edges = [before, *arrived, max(last, later - 1) + 1]
    missing = tuple((a + 1, b - 1) for a, b in itertools.pairwise(edges) if b > a + 1)
    received = sum(since_s <= at_s <= until_s for at_s in ledger.times_s.values())
    known_until_s = min(max((at_s for at_s, _ in points), default=since_s), until_s)
    return Account(node, boot, topic, received, ledger.repeated, missing, known_until_s)


async def _ignore(_: BaseException) -> None:
    """What the client library would print by itself."""
