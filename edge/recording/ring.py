"""The last packets of a camera's stream, and those that come, for whoever records or shows them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from edge.types import CodedPacket, StreamPacket

MAX_BYTES = 32 << 20
MAX_QUEUED_BYTES = 32 << 20


class PacketQueue:
    """Packets on their way to one reader: it begins at a key frame and has no gap within a GOP.

    A reader that is slow loses packets up to a key frame, and disturbs nobody else.

    Attributes:
        lost: Packets that the reader was too slow for.
    """

    def __init__(self, backlog: Sequence[StreamPacket], max_bytes: int) -> None:
        self.lost = 0
        self._changed = threading.Condition()
        self._packets = deque(backlog)
        self._bytes = sum(len(packet.data) for packet in backlog)
        self._max_bytes = max_bytes
        self._waits_for_key = not backlog
        self._closed = False

    def put(self, packet: StreamPacket) -> None:
        """Append a packet; never blocks."""
        with self._changed:
            if self._closed:
                return
            if self._bytes + len(packet.data) > self._max_bytes:
                self.lost += len(self._packets)
                self._packets.clear()
                self._bytes, self._waits_for_key = 0, True
            if self._waits_for_key and not packet.is_key:
                self.lost += 1
                return
            self._waits_for_key = False
            self._packets.append(packet)
            self._bytes += len(packet.data)
            self._changed.notify()

    def take(self, timeout_s: float = 0.0) -> list[StreamPacket]:
        """All packets that are there, at least one unless none comes in time or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self._closed, timeout_s)
            packets = list(self._packets)
            self._packets.clear()
            self._bytes = 0
        return packets

    def close(self) -> None:
        """Take no more packets."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class PacketRing:
    """The packets of one stream since a key frame that is at least ``keep_s`` ago, with sound.

    Args:
        keep_s: How far back it reaches, in seconds.
        max_bytes: It reaches less far back where that would be exceeded.
    """

    def __init__(self, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        self.keep_s = keep_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._groups: deque[list[StreamPacket]] = deque()  # of pictures, each begins with a key
        self._bytes = 0
        self._queues: tuple[PacketQueue, ...] = ()

    def put(self, packet: StreamPacket) -> None:
        """Take the next packet; never blocks."""
        with self._lock:
            if packet.is_key:
                self._groups.append([packet])
            elif self._groups:
                self._groups[-1].append(packet)
            self._bytes += len(packet.data) if self._groups else 0
            self._drop(packet.monotonic_s - self.keep_s)
            queues = self._queues
            for queue in queues:
                queue.put(packet)

    def _drop(self, before_s: float) -> None:
        """Drop what is not needed from ``before_s`` on, by the monotonic clock, or too much."""
        groups = self._groups
        while groups and (
            self._bytes > self._max_bytes
            or (len(groups) > 1 and groups[1][0].monotonic_s <= before_s)
        ):
            self._bytes -= sum(len(packet.data) for packet in groups.popleft())

    @property
    def is_filled(self) -> bool:
        """Whether there are packets."""
        return bool(self._groups)

    def reaches(self, at_s: float) -> bool:
        """Whether it has packets of a Unix time, or of one that is not more than a second later."""
        with self._lock:
            groups = self._groups
            return bool(groups) and groups[0][0].captured_s <= at_s <= groups[-1][-1].captured_s + 1

    def clear(self) -> None:
        """Forget all packets, since the stream is away."""
        with self._lock:
            self._groups.clear()
            self._bytes = 0

    def subscribe(
        self, since_s: float | None = None, max_bytes: int = MAX_QUEUED_BYTES
    ) -> PacketQueue:
        """A queue of packets from the last key frame on that is not later than ``since_s``.

        Args:
            since_s: Unix time; None begins with the last key frame.
            max_bytes: What may wait in the queue.
        """
        with self._lock:
            queue = PacketQueue(self._find(since_s), max_bytes)
            self._queues = (*self._queues, queue)
        return queue

    def unsubscribe(self, queue: PacketQueue) -> None:
        """Close a queue."""
        with self._lock:
            self._queues = tuple(other for other in self._queues if other is not queue)
        queue.close()

    def read(self, at_s: float) -> list[CodedPacket]:
        """Pictures from the last key frame not later than a Unix time to the end of its group."""
        with self._lock:
            group = next((g for g in reversed(self._groups) if g[0].captured_s <= at_s), [])
            return [packet for packet in group if isinstance(packet, CodedPacket)]

    def read_up_to(self, at_s: float) -> list[CodedPacket]:
        """The same up to the packet that was captured nearest to the Unix time."""
        packets = self.read(at_s)
        nearest = min(
            range(len(packets)), key=lambda row: abs(packets[row].captured_s - at_s), default=-1
        )
        return packets[: nearest + 1]

    def _find(self, since_s: float | None) -> list[StreamPacket]:
        found: list[StreamPacket] = []
        for group in reversed(self._groups):
            found = [*group, *found]
            if since_s is None or group[0].captured_s <= since_s:
                break
        return found
