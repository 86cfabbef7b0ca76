"""The client: a typed iterator over a node's messages that reports losses.

::

    from edge.client import Gap, Received, Subscriber

    with Subscriber("tcp://127.0.0.1:5555", topics=("v1/detections/door/",)) as subscriber:
        for item in subscriber:
            match item:
                case Received(topic, body):
                    print(topic, len(body.objects))
                case Gap(topic, missed=missed):
                    print(f"{missed} messages of {topic} were lost")

A topic is a byte prefix: end it with ``/``, or ``cam1`` also matches ``cam10``.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import zmq

from edge.compat import Self
from edge.errors import EdgeError
from edge.wire import topics as wire_topics
from edge.wire.gap_detector import Gap, GapDetector, Restarted
from edge.wire.key_pair import KeyPair, decode_key, read_key_pair
from edge.wire.schema import Body, HeartbeatMessage, decode

__all__ = ["Gap", "Item", "Received", "Restarted", "Subscriber"]

ENDPOINT = "tcp://127.0.0.1:5555"
MAX_MESSAGE_BYTES = 16 << 20
PEER_PING_MS = 2_000


@dataclass(frozen=True, slots=True)
class Received:
    """A message that arrived.

    Attributes:
        body: The content, typed by the topic.
        jpeg: The thumbnail, when the message has one.
        repeat: True for state that is not news: from the last-value cache, or with a number
            that was received before.
    """

    topic: str
    body: Body
    jpeg: bytes | None = None
    repeat: bool = False


Item = Received | Gap | Restarted


class Subscriber:
    """Receives the messages of a node; iterate over it inside a ``with``.

    Used by one thread. It reconnects by itself when the node goes away.

    Attributes:
        received: The number of messages that arrived, heartbeats included.
        missed: The number of lost messages.
        skipped: The number of messages that could not be decoded.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        topics: Sequence[str] = (wire_topics.VERSION,),
        *,
        gaps: bool = True,
        timeout_s: float | None = None,
        rcvhwm: int = 1000,
        server_key: str = "",
        key_file: Path | None = None,
    ) -> None:
        """Create the subscriber without connecting.

        Args:
            endpoint: Where the node publishes.
            topics: Prefixes of the topics to receive. Heartbeats are always received, because
                they reveal losses, but returned only when requested.
            gaps: Yield `Gap` and `Restarted` among the messages; losses are counted anyway.
            timeout_s: Iteration raises TimeoutError after this much silence; None never does.
            rcvhwm: Messages that may wait here before the node's own queue fills.
            server_key: The public CURVE key of a node that encrypts, in Z85.
            key_file: The secret key of this subscriber then, whose public key the node's operator
                has authorized; see `edge keys`.
        """
        self.endpoint = endpoint
        self.received = 0
        self.missed = 0
        self.skipped = 0
        self._topics = tuple(topics)
        self._gaps = gaps
        self._timeout_s = timeout_s
        self._rcvhwm = rcvhwm
        self._server_key = server_key
        self._key_file = key_file
        self._gap_detector = GapDetector()
        self._ready: deque[Item] = deque()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    def __enter__(self) -> Self:
        """Connect; succeeds although the node may not be there yet.

        Raises:
            EdgeError: The endpoint is not a valid address, or a key cannot be used.
        """
        pair = self._read_keys()
        inproc = self.endpoint.startswith("inproc:")  # lives in the publisher's context
        self._context = None if inproc else zmq.Context()
        self._socket = (self._context or zmq.Context.instance()).socket(zmq.SUB)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, self._rcvhwm),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 1000),
            (zmq.HEARTBEAT_IVL, PEER_PING_MS),
            (zmq.IPV6, int("[" in self.endpoint)),
        ):
            self._socket.setsockopt(option, value)
        if pair:
            self._socket.curve_serverkey = self._server_key.encode()
            self._socket.curve_publickey = pair.public.encode()
            self._socket.curve_secretkey = pair.secret.encode()
        for topic in dict.fromkeys((*self._topics, wire_topics.HEARTBEAT)):
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.__exit__(None, None, None)
            raise EdgeError(
                f"cannot connect to {self.endpoint!r}: {error.strerror}: use tcp://HOST:PORT"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._socket.close()
        if self._context is not None:
            self._context.term()

    def _read_keys(self) -> KeyPair | None:
        """The subscriber's keys; None for a node that does not encrypt."""
        if not (self._server_key or self._key_file):
            return None
        if not (self._server_key and self._key_file):
            raise EdgeError(
                "server_key and key_file belong together: a node that encrypts needs both"
            )
        decode_key(self._server_key)
        return read_key_pair(self._key_file)

    def __iter__(self) -> Iterator[Item]:
        """Yield items without end.

        Raises:
            TimeoutError: Nothing came for ``timeout_s``.
        """
        while (item := self.receive(self._timeout_s)) is not None:
            yield item
        raise TimeoutError(f"nothing came from {self.endpoint} for {self._timeout_s} s")

    def receive(self, timeout_s: float | None = None) -> Item | None:
        """Wait for the next item; None when none came within ``timeout_s``."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if not self._socket.poll(None if left_s is None else math.ceil(left_s * 1000)):
                return None
            self._handle(self._socket.recv_multipart())
            if deadline_s is not None and not self._ready and time.monotonic() > deadline_s:
                return None  # the caller did not ask for what came
        return self._ready.popleft()

    def _handle(self, parts: Sequence[bytes]) -> None:
        """Decode a message, check its number, queue what the caller wants."""
        if len(parts) not in (2, 3):
            self.skipped += 1
            return
        try:
            topic = parts[0].decode()
            body = decode(topic, parts[1])
        except ValueError:
            self.skipped += 1
            return
        self.received += 1
        self._check_boot(body.node, body.boot)
        repeat = body.cached is True
        if not repeat:
            gap, repeat = self._gap_detector.check_message(body.node, body.boot, topic, body.seq)
            self._report(gap)
        if isinstance(body, HeartbeatMessage):
            self._check_claims(body)
        if self._wants(topic):
            self._ready.append(Received(topic, body, parts[2] if len(parts) > 2 else None, repeat))

    def _check_boot(self, node: str, boot: str) -> None:
        """Report a restart, and before it what the old boot sent last."""
        restarted = self._gap_detector.check_boot(node, boot)
        if restarted:
            for gap in self._gap_detector.finish_boot(node, restarted.before):
                self._report(gap)
        self._report(restarted)

    def _check_claims(self, body: HeartbeatMessage) -> None:
        """Report what did not arrive of what a heartbeat, or the answer to a joiner, claims."""
        detector = self._gap_detector
        check = detector.check_snapshot if body.cached is True else detector.check_heartbeat
        last_seq = {name: seq for name, seq in body.last_seq.items() if self._wants(name)}
        for gap in check(body.node, body.boot, last_seq):
            self._report(gap)

    def _wants(self, topic: str) -> bool:
        return topic.startswith(self._topics)

    def _report(self, report: Gap | Restarted | None) -> None:
        if report is None:
            return
        if isinstance(report, Gap):
            if not self._wants(report.topic):
                return  # a heartbeat the caller did not ask for
            self.missed += report.missed
        if self._gaps:
            self._ready.append(report)
