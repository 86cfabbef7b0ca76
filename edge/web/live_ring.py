"""The stream of a camera's packet ring, muxed in a thread of its own while somebody watches."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

from edge.errors import EdgeError, translate_unexpected
from edge.recording.ring import PacketQueue, PacketRing
from edge.types import CodedPacket, SoundPacket
from edge.web.live_muxer import LiveMuxer
from edge.web.ports import Fragment, LiveStream, StreamStart

PATIENCE_S = 1.0
Piece = StreamStart | Fragment


async def open_ring(ring: PacketRing) -> LiveStream:
    """The stream of a ring from its last key frame on, until the ring gives no more.

    Raises:
        StorageError: MP4 cannot contain the codec.
    """
    loop = asyncio.get_running_loop()
    pieces = asyncio.Queue[list[Piece] | EdgeError | None]()

    def put(item: list[Piece] | EdgeError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(pieces.put_nowait, item)

    queue = ring.subscribe()
    thread = threading.Thread(target=_run, args=(queue, put), name="live", daemon=True)
    thread.start()
    try:
        while (item := await pieces.get()) is not None:
            if isinstance(item, EdgeError):
                raise item
            for piece in item:
                yield piece
    finally:
        ring.unsubscribe(queue)


def _run(queue: PacketQueue, put: Callable[[list[Piece] | EdgeError | None], None]) -> None:
    failure: EdgeError | None = None
    try:
        with translate_unexpected(lambda error: EdgeError(f"the live view failed: {error}")):
            _mux(queue, put)
    except EdgeError as error:
        failure = error
    put(failure)


def _mux(queue: PacketQueue, put: Callable[[list[Piece]], None]) -> None:
    """Mux what comes until the queue is closed."""
    muxer: LiveMuxer | None = None
    try:
        while True:
            asked_s = time.monotonic()
            packets = queue.take(PATIENCE_S)
            if not packets and time.monotonic() - asked_s < PATIENCE_S / 2:
                return  # it is closed: nothing comes any more
            for packet in packets:
                if isinstance(packet, SoundPacket):
                    continue
                muxer = _choose_muxer(muxer, packet)
                if muxer and (pieces := muxer.write(packet)):
                    put(pieces)
    finally:
        if muxer:
            muxer.close()


def _choose_muxer(muxer: LiveMuxer | None, packet: CodedPacket) -> LiveMuxer | None:
    """The muxer for a packet: another one where the camera codes in another way."""
    if muxer and muxer.fits(packet):
        return muxer
    if muxer:
        muxer.close()
    return LiveMuxer(packet) if packet.is_key else None
