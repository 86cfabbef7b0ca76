"""Publishes to NATS JetStream, at least once: what must not be lost, or must reach other machines.

Messages are written to a spool first, and leave it when the server has stored them, so that neither
a server that is away nor a killed daemon loses any. They travel as JSON lines, some in a batch,
each batch under an id by which the server knows it when it comes twice::

    edge.SITE.NODE.FAMILY.CAMERA    events, faces, status, tracks
    edge.SITE.NODE.detections       detections of all cameras
    edge.SITE.NODE.audit            the audit log of the gallery, where that is chosen
    edge.SITE.NODE.heartbeat        what was sent so far, every ten seconds and at the end

`edge.replay` reads them back and proves that none is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from pydantic import Field, field_validator, model_validator

from edge.compat import Self
from edge.config import Bytes, Table
from edge.errors import ConfigError, SinkError, translate_unexpected
from edge.repeated_warning import RepeatedWarnings
from edge.wire.nats_connection import FAILURES, NatsServers, check_encryption, check_urls
from edge.wire.schema import (
    AuditMessage,
    HeartbeatMessage,
    Message,
    Model,
    decode_line,
    encode_line,
)
from edge.wire.spool import Batch, Loss, Spool, SpoolState
from edge.wire.topics import HEARTBEAT, parse_camera, parse_family

Family = Literal["detections", "tracks", "faces", "status", "states", "events", "audit"]

BATCH_BYTES: Final = 256 << 10  # a server takes a mebibyte
WINDOW: Final = 64  # parcels on their way
READ: Final = 1024  # batches of the spool at a time
GATHER_S: Final = 0.05  # in which messages gather before they are sent
HEARTBEAT_EVERY_S: Final = 10.0
PUBLISH_S: Final = 5.0
RETRY_S: Final = (0.5, 10.0)  # first and longest pause
DRAIN_S: Final = 2.0
POLL_S: Final = 0.5

log = logging.getLogger(__name__)


class Options(Table):
    """A stream of NATS JetStream, behind a spool on the disk.

    Attributes:
        insecure: Allow a server on another machine without TLS.
        servers: `nats://HOST:PORT` or `tls://HOST:PORT`, tried in turn.
        spool: File in which messages wait for the server.
        site: Where the node is: part of the subjects, `edge.SITE.NODE.FAMILY.CAMERA`.
        families: What is sent: `events`, `faces`, `states`, `status`, `tracks`, `detections`, and
            `audit`, the log of who was enrolled, compared and forgotten, by id.
        stream: Name of the stream; it is made if there is none that takes the subjects.
        credentials_file: Credentials for the server (.creds) or a key (.nk); empty sends none.
        tls_ca: Certificate authority of the server; empty uses those of the system.
        max_bytes: Of what may wait in the spool; then the oldest is lost and counted.
        max_age_s: Seconds after which what waits is given up.
        stream_max_bytes: Of a stream that is made, such as `"10GB"`; then its oldest goes. 0 is
            no bound.
        stream_max_age_s: Seconds that it keeps a message; 0 is for ever.
    """

    insecure: bool = False  # comes first because the validator of servers reads it
    servers: tuple[str, ...] = Field(default=("nats://127.0.0.1:4222",), min_length=1)
    spool: str = Field(min_length=1)
    site: str = Field(default="home", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    families: tuple[Family, ...] = Field(
        ("events", "faces", "states", "status", "tracks"), min_length=1
    )
    stream: str = Field(default="EDGE", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    credentials_file: str = ""
    tls_ca: str = ""
    max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    max_age_s: float = Field(default=7 * 86400.0, ge=60)
    stream_max_bytes: Bytes = 0
    stream_max_age_s: float = Field(default=0, ge=0)

    @field_validator("servers")
    @classmethod
    def _check_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        check_urls(servers)
        return servers

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        if not self.insecure:
            check_encryption(self.servers)
        return self

    def collides_with(self, other: Options) -> bool:
        """Whether both would write one spool."""
        return Path(self.spool).resolve() == Path(other.spool).resolve()


class NatsSink:
    """A spool, and a thread that empties it into JetStream."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._families = frozenset(options.families)
        self._spool: Spool | None = None
        self._sender: _Sender | None = None
        self._heartbeat_s = float("-inf")
        self._held: Message | None = None  # the last heartbeat, if it was not sent

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the spool and begin to send; at the end send what waits for up to two seconds.

        Raises:
            SinkError: The spool cannot be opened.
        """
        options = self._options
        self._spool = Spool(Path(options.spool), options.max_bytes, options.max_age_s, _list_losses)
        self._sender = _Sender(options, self._spool)
        self._sender.start()
        try:
            yield
            if self._held:
                self._spool.append(_pack(options.site, [self._held]), time.time())
        finally:
            self._sender.stop()
            self._spool.close()
            self._spool = self._sender = None

    def send(self, messages: Sequence[Message]) -> None:
        """Spool the messages; never waits for the server.

        Raises:
            SinkError: The disk is full, or the spool is damaged.
        """
        assert self._spool  # noqa: S101 - it is open
        assert self._sender  # noqa: S101
        audited: dict[str, int] = {}
        wanted = [each for message in messages for each in self._choose(message, audited)]
        if wanted:
            self._spool.append(_pack(self._options.site, wanted), time.time(), audited)
            self._sender.wake()

    def idle(self) -> None:
        """Notice a sender that died.

        Raises:
            SinkError: It did.
        """
        if self._sender:
            self._sender.check()

    def look(self) -> SpoolState:
        """What waits, what was lost, and why nothing is sent."""
        if not (self._spool and self._sender):
            return SpoolState(0, 0, 0)
        return self._spool.look(self._sender.problem)

    def find_audited(self, log_id: str) -> int | None:
        """Number of the last entry of an audit log that is spooled, or has been."""
        spool = self._spool
        if "audit" not in self._families or spool is None:
            return None
        try:
            return spool.read_cursor(log_id)
        except SinkError:  # closed meanwhile, or at fault, which whoever sends is told
            return None

    def _follows(self, body: AuditMessage, audited: dict[str, int]) -> bool:
        """Whether an entry is the next one of its log, which is noted in ``audited`` then."""
        assert self._spool  # noqa: S101 - it is open
        last = audited.get(body.boot)
        if last is None:
            last = self._spool.read_cursor(body.boot)
        if body.seq != last + 1:
            return False
        audited[body.boot] = body.seq
        return True

    def _choose(self, message: Message, audited: dict[str, int]) -> list[Message]:
        """A message if its family is sent; heartbeats now and then, and the last of each boot."""
        if isinstance(message.body, AuditMessage):
            is_next = "audit" in self._families and self._follows(message.body, audited)
            return [message] if is_next else []
        if message.topic != HEARTBEAT:
            return [message] if parse_family(message.topic) in self._families else []
        message = self._claim_no_others(message)
        now_s, held = time.monotonic(), self._held
        last = [held] if held and held.body.boot != message.body.boot else []
        is_due = bool(last) or now_s - self._heartbeat_s >= HEARTBEAT_EVERY_S
        self._heartbeat_s = now_s if is_due else self._heartbeat_s
        self._held = None if is_due else message
        return [*last, message] if is_due else []

    def _claim_no_others(self, heartbeat: Message) -> Message:
        """A heartbeat that names what is sent here: what never was cannot be missing."""
        body = heartbeat.body
        assert isinstance(body, HeartbeatMessage)  # noqa: S101 - its topic says so
        sent = {t: seq for t, seq in body.last_seq.items() if parse_family(t) in self._families}
        body = msgspec.structs.replace(body, last_seq=sent)
        return msgspec.structs.replace(heartbeat, body=body)


def _pack(site: str, messages: Iterable[Message]) -> list[Batch]:
    """Batches of messages, one or more a subject."""
    lines: dict[str, list[tuple[Message, bytes]]] = {}
    for message in messages:
        line = encode_line(message.topic, message.body)
        lines.setdefault(_name_subject(site, message), []).append((message, line))
    batches = []
    for subject, rows in lines.items():
        begin, size = 0, 0
        for end, (_, line) in enumerate(rows):
            if size + len(line) > BATCH_BYTES and end > begin:
                batches.append(_make_batch(subject, rows[begin:end]))
                begin, size = end, 0
            size += len(line)
        batches.append(_make_batch(subject, rows[begin:]))
    return batches


def _make_batch(subject: str, rows: Sequence[tuple[Message, bytes]]) -> Batch:
    first, last = rows[0][0], rows[-1][0]
    name = f"{first.body.boot}/{first.topic}{first.body.seq}-{last.topic}{last.body.seq}"
    return Batch(subject, name, b"".join(line for _, line in rows), len(rows))


def _name_subject(site: str, message: Message) -> str:
    family, camera = parse_family(message.topic), parse_camera(message.topic)
    words = ["edge", site, to_token(message.body.node), family]
    if camera and family != "detections":
        words.append(to_token(camera))
    return ".".join(words)


def to_token(name: str) -> str:
    """A name as a word of a subject, in which dots, spaces and wildcards have a meaning."""
    return re.sub(r"[.*>\s\x00-\x1f]", "_", name) or "_"


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Batches of one subject that travel as one message of JetStream.

    One that fails is sent again as it is, also by the next process, so that the server knows it.
    """

    batches: tuple[Batch, ...]

    @property
    def subject(self) -> str:
        return self.batches[0].subject

    @property
    def message_id(self) -> str:
        first, last = self.batches[0].message_id, self.batches[-1].message_id
        return first if len(self.batches) == 1 else f"{first}..{last}"

    @property
    def content(self) -> bytes:
        return b"".join(batch.content for batch in self.batches)


def _gather(batches: Sequence[Batch]) -> list[_Parcel]:
    """The next parcels, in the order of their first batch; those that were settled stay so."""
    parcels: list[list[Batch]] = []
    growing: dict[tuple[str, int], list[Batch]] = {}
    sizes: dict[tuple[str, int], int] = {}
    for batch in batches:
        key = batch.subject, batch.parcel
        parcel = growing.get(key, [])
        size = sizes.get(key, 0) + len(batch.content)
        if not parcel or (not batch.parcel and size > BATCH_BYTES):
            if len(parcels) == WINDOW:
                break
            parcel, size = [], len(batch.content)
            growing[key] = parcel
            parcels.append(parcel)
        parcel.append(batch)
        sizes[key] = size
    return [_Parcel(tuple(each)) for each in parcels]


class _Sender:
    """The thread that publishes what waits.

    Attributes:
        problem: Why it does not; empty if it does.
    """

    def __init__(self, options: Options, spool: Spool) -> None:
        self.problem = "it is not connected yet"
        self._options, self._spool = options, spool
        self._servers = NatsServers(options.servers, options.credentials_file, options.tls_ca)
        self._stop_at_s = float("inf")
        self._stopping = threading.Event()
        self._waiting = threading.Event()
        self._parcels: list[_Parcel] = []  # that the server has not confirmed
        self._warnings = RepeatedWarnings(log)
        self._error: SinkError | None = None
        self._thread = threading.Thread(target=self._run, name="nats sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Something was spooled."""
        self._waiting.set()

    def stop(self) -> None:
        """Send what waits for a moment; the rest stays in the spool."""
        self._stop_at_s = time.monotonic() + DRAIN_S
        self._stopping.set()
        self._waiting.set()
        self._thread.join(DRAIN_S + 0.5)  # a server that hangs is not waited for

    def check(self) -> None:
        """Raise what ended the thread.

        Raises:
            SinkError: It ended.
        """
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            with translate_unexpected(lambda error: SinkError(f"sending failed: {error!r}")):
                asyncio.run(self._send_on())
        except SinkError as error:  # the sink is opened anew
            self._error = error

    async def _send_on(self) -> None:
        """Connect, send, and again after a pause that grows."""
        pause_s = RETRY_S[0]
        while not self._is_over():
            try:
                client = await self._servers.connect()
            except (*FAILURES, ConfigError) as error:
                self._tell(error)
                if self._stopping.is_set():
                    return
                await asyncio.to_thread(self._stopping.wait, pause_s)
                pause_s = min(2 * pause_s, RETRY_S[1])
                continue
            try:
                pause_s = RETRY_S[0]
                await self._forward(client)
                return  # it was told to stop
            except (OSError, nats.errors.Error, asyncio.TimeoutError) as error:
                self._tell(error)
                await asyncio.to_thread(self._stopping.wait, RETRY_S[0])
            finally:
                with suppress(OSError, nats.errors.Error, asyncio.TimeoutError):
                    await asyncio.wait_for(client.close(), PUBLISH_S)

    def _is_over(self) -> bool:
        return time.monotonic() >= self._stop_at_s

    def _tell(self, error: BaseException) -> None:
        """Say why nothing is sent, once; an address loses its password."""
        self.problem = self._servers.explain(error)
        self._warnings.tell(
            "nats is away", f"nats: {self.problem}: messages wait in {self._options.spool}"
        )
        self._warnings.sum_up()

    async def _forward(self, client: Client) -> None:
        """Publish batches until the connection ends or there is nothing left at the end."""
        stream = client.jetstream(timeout=PUBLISH_S)
        await self._make_stream(stream)
        while not self._is_over():
            self._waiting.clear()
            self._spool.report_losses(self._report, time.time())
            if not self._parcels:
                self._parcels = _gather(self._spool.read(READ))
                self._spool.bind(parcel.batches for parcel in self._parcels)
            if self._parcels:
                await self._publish(stream)
                continue
            self._say_well()
            if self._stopping.is_set():
                return
            await asyncio.to_thread(self._waiting.wait, POLL_S)
            if client.is_closed:
                raise nats.errors.ConnectionClosedError
            await asyncio.to_thread(self._stopping.wait, GATHER_S)

    def _report(self, losses: Sequence[Loss]) -> list[Batch]:
        """Heartbeats that name what was given up, so that `edge.replay` misses it.

        What else arrives of a boot may end before that.
        """
        boots: dict[tuple[str, str], list[Loss]] = {}
        for loss in losses:
            boots.setdefault((loss.node, loss.boot), []).append(loss)
        batches = [
            batch
            for (node, boot), rows in boots.items()
            for batch in _pack(self._options.site, [_make_heartbeat(node, boot, rows)])
        ]
        return [  # their numbers are all 0
            replace(batch, message_id=f"losses/{hashlib.sha256(batch.content).hexdigest()}")
            for batch in batches
        ]

    async def _publish(self, stream: JetStreamContext) -> None:
        """Publish some parcels at a time, and remove those that the server has stored."""
        results = await asyncio.gather(
            *(
                stream.publish(
                    parcel.subject, parcel.content, timeout=PUBLISH_S,
                    headers={"Nats-Msg-Id": parcel.message_id},
                )
                for parcel in self._parcels
            ),
            return_exceptions=True,
        )  # fmt: skip
        pairs = list(zip(self._parcels, results, strict=True))
        failures = [result for result in results if isinstance(result, BaseException)]
        if any(isinstance(failure, asyncio.CancelledError) for failure in failures):
            failures = [nats.errors.ConnectionClosedError()]  # by the client, when it closed
        stored = [parcel for parcel, result in pairs if not isinstance(result, BaseException)]
        self._spool.remove([batch for parcel in stored for batch in parcel.batches])
        self._parcels = [parcel for parcel, result in pairs if isinstance(result, BaseException)]
        if failures:
            raise failures[0]
        self._say_well()

    def _say_well(self) -> None:
        if self.problem:
            log.info("nats: messages reach the stream %s", self._options.stream)
        self.problem = ""

    async def _make_stream(self, stream: JetStreamContext) -> None:
        """Make the stream if no other takes the subjects."""
        options = self._options
        subject = f"edge.{options.site}.>"
        try:
            await stream.find_stream_name_by_subject(subject)
        except nats.js.errors.NotFoundError:
            await stream.add_stream(
                StreamConfig(
                    name=options.stream, subjects=["edge.>"], storage=StorageType.FILE,
                    retention=RetentionPolicy.LIMITS, duplicate_window=_choose_window(options),
                    max_bytes=options.stream_max_bytes or -1, max_age=options.stream_max_age_s,
                )
            )  # fmt: skip


def _list_losses(batch: Batch) -> list[Loss]:
    """The last number of each topic that a batch holds, or that a heartbeat in it names."""
    found = []
    for line in batch.content.splitlines():
        try:
            topic, body = decode_line(line)
        except ValueError:  # of a spool that was changed
            continue
        claims = body.last_seq if isinstance(body, HeartbeatMessage) else {topic: body.seq}
        found += [
            Loss(body.node, body.boot, claimed, seq, body.captured_at)
            for claimed, seq in claims.items()
        ]
    return found


def _make_heartbeat(node: str, boot: str, losses: Sequence[Loss]) -> Message:
    """A heartbeat of a boot that may be over: numbered 0, for it is none of its own."""
    body = HeartbeatMessage(
        node=node, boot=boot, seq=0, captured_at=max(loss.at_s for loss in losses),
        published_at=time.time(), age_s=0.0, model=Model("", ""),
        last_seq={loss.topic: loss.seq for loss in losses},
    )  # fmt: skip
    return Message(HEARTBEAT, body)


def _choose_window(options: Options) -> float:
    """Seconds in which a batch that comes twice is known; the server takes no more than its age."""
    return min(600.0, options.stream_max_age_s or 600.0)


def build(options: Options) -> NatsSink:
    """Create the sink that options describe."""
    return NatsSink(options)
