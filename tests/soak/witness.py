"""The witness: a subscriber that stays, and notes what comes and what is said to be lost."""

from __future__ import annotations

import threading

from edge.client import Gap, Received, Subscriber
from edge.compat import Self
from edge.wire.schema import EventMessage, HeartbeatMessage, StatusMessage, encode
from edge.wire.topics import HEARTBEAT
from tests.soak.numbers import LOST, RECEIVED, Numbers


class Witness:
    """Receives everything that a node sends, in a thread.

    Args:
        numbers: Where it notes the numbers of messages.
        secret: What must be in none of them.

    Attributes:
        ended: The last message about each event that has ended, by its id.
        leaks: Messages that have the secret in them.
        skipped: Messages that could not be read.
    """

    def __init__(self, port: int, numbers: Numbers, secret: str) -> None:
        self.ended: dict[str, EventMessage] = {}
        self.leaks = self.skipped = 0
        self._numbers, self._secret = numbers, secret.encode()
        self._boot = ""
        self._over = threading.Event()
        self._subscriber = Subscriber(f"tcp://127.0.0.1:{port}", rcvhwm=10_000)
        self._thread = threading.Thread(target=self._receive, name="witness")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _receive(self) -> None:
        with self._subscriber as subscriber:
            while not self._over.is_set():
                item = subscriber.receive(0.2)
                if isinstance(item, Received):
                    self._take(item)
                elif isinstance(item, Gap) and item.topic != HEARTBEAT:
                    self._numbers.note(self._boot, item.topic, item.expected, LOST, item.got)
            self.skipped = subscriber.skipped

    def _take(self, item: Received) -> None:
        body = item.body
        self._boot = body.boot
        if isinstance(body, StatusMessage | EventMessage):
            self.leaks += self._secret in encode(body)
        if isinstance(body, HeartbeatMessage):
            for topic, last in body.last_seq.items():
                if topic != HEARTBEAT:
                    self._numbers.claim(body.boot, topic, last)
        elif not item.repeat:
            self._numbers.note(body.boot, item.topic, body.seq, RECEIVED)
        if isinstance(body, EventMessage) and body.change == "ended":
            self.ended[body.event] = body
