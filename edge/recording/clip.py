"""A clip of an event, and continuous video, while they are written."""

from __future__ import annotations

import contextlib
import math
import time
from typing import BinaryIO

from edge.errors import StorageError
from edge.event import Event
from edge.recording import mp4
from edge.recording.archive import Archive
from edge.recording.kept_file import create_file
from edge.recording.mp4 import Mp4Writer
from edge.recording.records import StoredFile
from edge.recording.ring import PacketQueue, PacketRing
from edge.types import CodedPacket, SoundPacket, StreamPacket

SEGMENT_S = 60.0
MAX_SEGMENT_BYTES = 64 << 20
PATIENCE_S = 2.0  # after its end a clip waits no longer for packets


class _OpenFile:
    """A video file of the archive that is being written."""

    def __init__(self, archive: Archive, entry: StoredFile, first: CodedPacket) -> None:
        self.entry = entry
        self.size_bytes = 0
        self._archive = archive
        self._file: BinaryIO = create_file(archive.locate(entry))
        try:
            self._writer = Mp4Writer(self._file, first, sound=first.format.sound)
        except BaseException:
            self.abandon()
            raise

    @property
    def ended_s(self) -> float:
        """Unix time of the end of its last picture."""
        return self._writer.ended_s

    def fits(self, packet: CodedPacket) -> bool:
        """Whether a packet can follow in it."""
        return self._writer.fits(packet)

    def write(self, packet: StreamPacket) -> None:
        """Append a packet."""
        if isinstance(packet, SoundPacket):
            self._writer.write_sound(packet)
        else:
            self._writer.write(packet)
        self.size_bytes += len(packet.data)
        self._archive.written_bytes += len(packet.data)

    def flush(self) -> None:
        """Hand what was written to the operating system, so that a crash does not cost it."""
        self._file.flush()

    def finish(self, *, seekable: bool) -> None:
        """Complete it."""
        self._writer.close()
        self._file.close()
        if seekable:
            with contextlib.suppress(OSError):  # no room for a moment: it plays as it is
                mp4.finish(self._archive.locate(self.entry))
        self._archive.end(self.entry, self.ended_s)

    def leave(self) -> None:
        """Write nothing more; it is repaired when the archive is opened again."""
        with contextlib.suppress(OSError, StorageError):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._file.close()

    def abandon(self) -> None:
        """Delete it."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._archive.drop(self.entry)


class ClipWriter:
    """Writes the clip of one event.

    Args:
        event: The event, which has just begun.
        ring: The camera's packets.
        pre_s: Time before the event that the clip shows, in seconds.
        max_s: How long it may be.

    Attributes:
        stop_s: Unix time at which the clip ends; set it when the event has ended.
    """

    def __init__(
        self, archive: Archive, event: Event, ring: PacketRing, pre_s: float, max_s: float
    ) -> None:
        self.event = event
        self.stop_s = math.inf
        self._archive, self._ring = archive, ring
        self._max_stop_s = event.began_s + max_s
        self._offset_s = time.time() - time.monotonic()  # of Unix time, whoever sets the clock
        self._queue: PacketQueue | None = ring.subscribe(event.began_s - pre_s)
        self._file: _OpenFile | None = None
        self._has_pictures = False

    def write(self) -> bool:
        """Write what has come; whether the clip is complete.

        Raises:
            OSError: It cannot be written.
            StorageError: Its pictures cannot be stored.
        """
        if self._queue is None:
            return True
        stop_s = min(self.stop_s, self._max_stop_s)
        for packet in self._queue.take():
            if isinstance(packet, SoundPacket):
                if self._file:
                    self._file.write(packet)
                continue
            if self._file is None:
                self._offset_s = packet.captured_s - packet.monotonic_s
            at_s = packet.monotonic_s + self._offset_s
            if at_s >= stop_s or not self._add(packet):
                self.finish()
                return True
        if self._file:
            self._file.flush()
        if time.monotonic() + self._offset_s > stop_s + PATIENCE_S:
            self.finish()
        return self._queue is None

    def _add(self, packet: CodedPacket) -> bool:
        """Write a packet; False when it cannot be in the same file."""
        if self._file is None:
            entry = self._archive.begin_clip(self.event, packet.captured_s)
            self._file = _OpenFile(self._archive, entry, packet)
            self._has_pictures = True
        elif not self._file.fits(packet):
            return False
        self._file.write(packet)
        return True

    def finish(self) -> None:
        """Complete the clip with what it has.

        Raises:
            OSError: It cannot be written.
        """
        self._unsubscribe()
        if self._file:
            file, self._file = self._file, None
            file.finish(seekable=True)

    @property
    def has_pictures(self) -> bool:
        """Whether something was written."""
        return self._has_pictures

    def leave(self) -> None:
        """Write nothing more; what is there is repaired when the archive is opened again."""
        self._unsubscribe()
        if self._file:
            self._file.leave()

    def abandon(self) -> None:
        """Delete it, since it cannot be written."""
        self._unsubscribe()
        if self._file:
            file, self._file = self._file, None
            file.abandon()

    def _unsubscribe(self) -> None:
        if self._queue:
            self._ring.unsubscribe(self._queue)
            self._queue = None


class ContinuousWriter:
    """Writes all that a camera sends, a file a minute.

    Args:
        ring: The camera's packets.
    """

    def __init__(self, archive: Archive, camera: str, ring: PacketRing) -> None:
        self.ring = ring
        self._archive, self._camera = archive, camera
        self._queue = ring.subscribe()
        self._file: _OpenFile | None = None
        self._began_s = 0.0  # of the file, on the monotonic clock

    def write(self) -> None:
        """Write what has come.

        Raises:
            OSError: It cannot be written.
            StorageError: Its pictures cannot be stored.
        """
        for packet in self._queue.take():
            if isinstance(packet, SoundPacket):
                if self._file:
                    self._file.write(packet)
                continue
            if self._file and self._is_full(self._file, packet):
                self._finish_file()
            if self._file is None:
                if not packet.is_key:
                    continue
                entry = self._archive.begin_continuous(self._camera, packet.captured_s)
                self._file = _OpenFile(self._archive, entry, packet)
                self._began_s = packet.monotonic_s
            self._file.write(packet)
        if self._file:
            self._file.flush()

    def _is_full(self, file: _OpenFile, packet: CodedPacket) -> bool:
        if not file.fits(packet):
            return True
        lasts_s = packet.monotonic_s - self._began_s
        return packet.is_key and (lasts_s >= SEGMENT_S or file.size_bytes >= MAX_SEGMENT_BYTES)

    def _finish_file(self) -> None:
        if self._file:
            file, self._file = self._file, None
            file.finish(seekable=False)

    def finish(self) -> None:
        """Write what has come, and complete the file that is open.

        Raises:
            OSError: It cannot be written.
            StorageError: Its pictures cannot be stored.
        """
        self.ring.unsubscribe(self._queue)
        self.write()
        self._finish_file()

    def leave(self) -> None:
        """Write nothing more; what is there is repaired when the archive is opened again."""
        self.ring.unsubscribe(self._queue)
        if self._file:
            self._file.leave()

    def abandon(self) -> None:
        """Delete the file that is open; what comes is written to another."""
        if self._file:
            file, self._file = self._file, None
            file.abandon()
