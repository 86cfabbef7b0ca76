"""The live view of a camera: its packets on their way to the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from edge.recording.live import PLAYABLE, LiveRemuxer, name_codec
from edge.recording.ring import PacketQueue
from edge.service.archivist import RecordedCamera
from edge.types import CodedPacket
from edge.web.ports import Fragment, StreamStart

POLL_S = 0.5
SILENCE_S = 15.0  # after which a stream is over for its viewers


async def open_live(
    cameras: Mapping[str, RecordedCamera], name: str
) -> AsyncGenerator[StreamStart | Fragment, None]:
    """The stream of a camera from its last key frame on.

    Raises:
        LookupError: Its pictures do not come coded in a way that browsers play.
        StorageError: It cannot be shown.
    """
    camera = cameras.get(name)
    ring = camera.source if camera else None
    if ring is None:
        raise LookupError(f"{name} has no stream that can be shown as it is sent")
    queue = ring.subscribe()
    try:
        stream = _Stream(queue)
        while True:
            pieces = await asyncio.to_thread(stream.read)
            for piece in pieces:
                yield piece
    finally:
        ring.unsubscribe(queue)


@dataclass(slots=True)
class _Stream:
    queue: PacketQueue
    _remuxer: LiveRemuxer | None = None
    _silent_s: float = 0.0

    def read(self) -> list[StreamStart | Fragment]:
        """Wait for packets; what they make."""
        packets = self.queue.take(POLL_S)
        self._silent_s = 0.0 if packets else self._silent_s + POLL_S
        if self._silent_s > SILENCE_S:
            raise LookupError("nothing comes from the camera")
        return [piece for packet in packets for piece in self._convert(packet)]

    def _convert(self, packet: CodedPacket) -> list[StreamStart | Fragment]:
        if packet.format.codec not in PLAYABLE:
            raise LookupError(f"browsers do not play {packet.format.codec} as it is sent")
        pieces: list[StreamStart | Fragment] = []
        begins = self._remuxer is None or not self._remuxer.fits(packet)
        if begins:
            if not packet.is_key:
                return []
            self._remuxer = LiveRemuxer(packet)
        assert self._remuxer  # noqa: S101 - for mypy
        fragment = self._remuxer.write(packet)
        if begins:
            header = self._remuxer.header
            pieces.append(StreamStart(name_codec(header), header))
        if fragment:
            pieces.append(
                Fragment(fragment.data, fragment.key, fragment.captured_s, fragment.media_s)
            )
        return pieces
