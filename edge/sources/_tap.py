"""The packets of a stream on their way to whoever records or shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from edge.sources._sound import Sound
from edge.types import CodedPacket, SoundPacket, StreamFormat, StreamPacket

if TYPE_CHECKING:
    from av.stream import Stream

    from edge.sources._av import Video

_LENGTH_PREFIXED = b"\x01"  # how the header of a stream begins whose NAL units have no start codes
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
_MICROSECONDS = Fraction(1, 1_000_000)
_JPEGS = StreamFormat("mjpeg", b"", _MICROSECONDS)


class StreamTap:
    """Hands on the packets of one connection.

    Args:
        video: Where they come from.
        put: Takes them.
        on_sound: Called with why there is no sound, or with nothing; None leaves sound out.
    """

    def __init__(
        self,
        video: Video,
        put: Callable[[StreamPacket], None],
        on_sound: Callable[[str], None] | None = None,
    ) -> None:
        stream = video.stream
        codec = stream.codec_context.name
        header = stream.codec_context.extradata or b""
        self._filter: BitStreamFilterContext | None = None
        if codec in _TO_ANNEX_B and header.startswith(_LENGTH_PREFIXED):
            self._filter, header = BitStreamFilterContext(_TO_ANNEX_B[codec], stream), b""
        self._format = StreamFormat(codec, header, Fraction(stream.time_base or _MICROSECONDS))
        self._put, self._on_sound = put, on_sound
        self._pictures = stream.index
        self._sound: Sound | None = None
        self._sound_index = -1
        if on_sound:
            self._sound = Sound(video.sound)
            self._sound_index = video.sound.index if video.sound else -1
            on_sound(self._sound.problem)

    def takes(self, packet: Packet[Stream]) -> bool:
        """Whether a packet is handed on."""
        return bool(packet.size) and packet.stream_index in (self._pictures, self._sound_index)

    def pass_on(self, packet: Packet[Stream], captured_s: float, monotonic_s: float) -> None:
        """Hand on a packet; it stays as it is."""
        if packet.stream_index != self._pictures:
            self._pass_on_sound(packet, captured_s, monotonic_s)
            return
        sound = self._sound.format if self._sound else None
        if packet.is_keyframe and sound is not self._format.sound:
            self._format = replace(self._format, sound=sound)
        for part in self._convert(packet):
            self._put(
                CodedPacket(
                    self._format, bytes(part), packet.pts, packet.dts, packet.is_keyframe,
                    captured_s, monotonic_s,
                )
            )  # fmt: skip

    def _pass_on_sound(self, packet: Packet[Stream], captured_s: float, monotonic_s: float) -> None:
        if self._sound is None or packet.stream_index != self._sound_index:
            return
        had_problem = self._sound.problem
        data = self._sound.convert(bytes(packet))
        if self._on_sound and self._sound.problem != had_problem:
            self._on_sound(self._sound.problem)
        if data and self._sound.format:
            pts = packet.pts if packet.dts is None else packet.dts
            self._put(SoundPacket(self._sound.format, data, pts, captured_s, monotonic_s))

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
