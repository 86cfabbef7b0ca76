"""The packets of a stream on their way to whoever records or shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from edge.types import CodedPacket, StreamFormat

if TYPE_CHECKING:
    from av.stream import Stream
    from av.video.stream import VideoStream

_LENGTH_PREFIXED = b"\x01"  # how the header of a stream begins whose NAL units have no start codes
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
_MICROSECONDS = Fraction(1, 1_000_000)
_JPEGS = StreamFormat("mjpeg", b"", _MICROSECONDS)


class StreamTap:
    """Hands on the packets of one connection.

    Args:
        stream: Where they come from.
        put: Takes them.
    """

    def __init__(self, stream: VideoStream, put: Callable[[CodedPacket], None]) -> None:
        codec = stream.codec_context.name
        header = stream.codec_context.extradata or b""
        self._filter: BitStreamFilterContext | None = None
        if codec in _TO_ANNEX_B and header.startswith(_LENGTH_PREFIXED):
            self._filter, header = BitStreamFilterContext(_TO_ANNEX_B[codec], stream), b""
        self._format = StreamFormat(codec, header, Fraction(stream.time_base or _MICROSECONDS))
        self._put = put

    def pass_on(self, packet: Packet[Stream], captured_s: float, monotonic_s: float) -> None:
        """Hand on a packet; it stays as it is."""
        for part in self._convert(packet):
            self._put(
                CodedPacket(
                    self._format, bytes(part), packet.pts, packet.dts, packet.is_keyframe,
                    captured_s, monotonic_s,
                )
            )  # fmt: skip

    def _convert(self, packet: Packet[Stream]) -> Iterator[Packet[Stream]]:
        if self._filter is None:
            yield packet
            return
        copy: Packet[Stream] = Packet(bytes(packet))
        copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
        yield from self._filter.filter(copy)


def wrap_jpeg(jpeg: bytes, captured_s: float, monotonic_s: float) -> CodedPacket:
    """A JPEG of a stream of JPEGs as a packet."""
    stamp = round(monotonic_s / _MICROSECONDS)
    return CodedPacket(_JPEGS, jpeg, stamp, stamp, True, captured_s, monotonic_s)
