"""The live muxer: coded packets to fragments of MP4 that a browser appends as they come."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from edge.recording.mp4 import Mp4Writer
from edge.types import CodedPacket
from edge.web.ports import Fragment, StreamStart

_BOX: Final = struct.Struct(">I4s")
_TOLD: Final = {"mjpeg": "jpeg"}  # no browser plays it as video, and says so


class _Boxes:
    """A file of which whole boxes are taken as they are written (ISO/IEC 14496-12)."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        """Append what is written."""
        self._written += data
        return len(data)

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """The kind of each whole box, and the box."""
        while len(self._written) >= _BOX.size:
            length, kind = _BOX.unpack_from(self._written)
            if len(self._written) < length:
                return
            box = bytes(self._written[:length])
            del self._written[:length]
            yield kind, box


class LiveMuxer:
    """Makes one fragment of each packet; it comes out with the next one.

    Args:
        first: The key frame that it begins with.

    Raises:
        StorageError: MP4 cannot contain the codec, or the key frame is broken.
    """

    def __init__(self, first: CodedPacket) -> None:
        self._boxes = _Boxes()
        self._writer = Mp4Writer(cast(BinaryIO, self._boxes), first, "picture")
        self._codec = first.format.codec
        self._muxed = deque[CodedPacket]()
        self._begun = b""  # of what is written
        self._timescale = 1

    def fits(self, packet: CodedPacket) -> bool:
        """Whether a packet can follow; if not, a new muxer is needed."""
        return self._writer.fits(packet)

    def write(self, packet: CodedPacket) -> list[StreamStart | Fragment]:
        """Append a packet; what has become whole."""
        self._writer.write(packet)
        self._muxed.append(packet)
        return list(self._take())

    def close(self) -> None:
        """Free what it uses."""
        self._writer.close()

    def _take(self) -> Iterator[StreamStart | Fragment]:
        for kind, box in self._boxes.take():
            self._begun += box
            if kind == b"moov":
                self._timescale = _read_timescale(box)
                yield StreamStart(name_codecs(box, self._codec), self._begun)
                self._begun = b""
            elif kind == b"mdat":
                packet = self._muxed.popleft()
                media_s = _read_time(self._begun) / self._timescale
                yield Fragment(self._begun, packet.is_key, packet.captured_s, media_s)
                self._begun = b""


def name_codecs(moov: bytes, codec: str) -> str:
    """The name of a codec with its profile, as RFC 6381 and ISO/IEC 14496-15 (annex E) write it."""
    if (at := moov.find(b"avcC")) >= 0:
        return f"avc1.{moov[at + 5 : at + 8].hex()}"
    if (at := moov.find(b"hvcC")) >= 0:
        return _name_hevc(moov[at + 4 :])
    return _TOLD.get(codec, codec)


def _name_hevc(record: bytes) -> str:
    """``hvc1.1.6.L93.B0`` of an HEVCDecoderConfigurationRecord."""
    space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\0")
    parts = [f"hvc1.{space}{record[1] & 0x1F}", f"{flags:x}", f"{tier}{record[12]}"]
    return ".".join([*parts, *(f"{value:X}" for value in constraints)])


def _read_timescale(moov: bytes) -> int:
    """Units per second of the times of a track (``mdhd``)."""
    at = moov.find(b"mdhd") + 4
    return int(struct.unpack_from(">I", moov, at + (20 if moov[at] else 12))[0])


def _read_time(moof: bytes) -> int:
    """When the first picture of a fragment is decoded (``tfdt``), in units of its track."""
    at = moof.find(b"tfdt") + 4
    return int(struct.unpack_from(">Q" if moof[at] else ">I", moof, at + 4)[0])
