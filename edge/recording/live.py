"""A live stream as fragmented MP4, a picture a fragment, for browsers (Media Source Extensions)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, cast

from edge.recording.mp4 import Mp4Writer
from edge.types import CodedPacket

PLAYABLE = {"h264", "hevc"}  # codecs that browsers play from fragments


@dataclass(frozen=True, slots=True)
class LiveFragment:
    """A picture: ``moof`` and ``mdat``.

    Attributes:
        key: Whether it is a key frame.
        captured_s: Unix time at which it was captured.
        media_s: When it is decoded, in seconds of the stream's own time.
    """

    data: bytes
    key: bool
    captured_s: float
    media_s: float


class LiveRemuxer:
    """Makes fragments of packets; each comes out with the packet after it, for it lasts until then.

    Args:
        first: A key frame, to be written first.

    Raises:
        StorageError: It cannot be shown.
    """

    def __init__(self, first: CodedPacket) -> None:
        self._pieces: list[bytes] = []
        self._writer = Mp4Writer(cast(BinaryIO, _Collector(self._pieces)), first, "picture")
        self._pending: tuple[bool, float, float] | None = None
        self.header = b""

    def fits(self, packet: CodedPacket) -> bool:
        """Whether a packet can follow; where it cannot, a stream begins anew."""
        return self._writer.fits(packet)

    def write(self, packet: CodedPacket) -> LiveFragment | None:
        """Take a packet; the fragment of the one before."""
        self._writer.write(packet)
        data = b"".join(self._pieces)
        self._pieces.clear()
        if not self.header:
            end = data.find(b"moof") - 4
            self.header, data = (data, b"") if end < 0 else (data[:end], data[end:])
        done = None
        if self._pending and data:
            done = LiveFragment(data, *self._pending)
        self._pending = packet.is_key, packet.captured_s, self._writer.media_s
        return done


class _Collector:
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def write(self, data: bytes) -> int:
        """Keep what is written."""
        self._pieces.append(bytes(data))
        return len(data)


def name_codec(header: bytes) -> str:
    """The codec of an initialization segment as RFC 6381 names it: ``avc1.4d401f``.

    H.264 by ISO/IEC 14496-15 5.3.3.1.2, H.265 by its annex E.3.
    """
    if (at := header.find(b"avcC")) >= 0:
        return "avc1." + header[at + 5 : at + 8].hex()
    if (at := header.find(b"hvcC")) < 0:
        return ""
    profile, compatibility, constraints, level = struct.unpack(">BI6sB", header[at + 5 : at + 17])
    space = ("", "A", "B", "C")[profile >> 6]
    tier = "H" if profile & 0x20 else "L"
    mirrored = int(f"{compatibility:032b}"[::-1], 2)
    parts = ["hvc1", f"{space}{profile & 0x1F}", f"{mirrored:X}", f"{tier}{level}"]
    return ".".join([*parts, *(f"{byte:X}" for byte in constraints.rstrip(b"\0"))])
