"""The sound of a connection, as MP4 holds it: never decoded, without headers of its stream."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from edge.types import SoundFormat

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

NONE = "the camera sends none: switch it on in the camera"
_REMEDY = "set the camera to AAC"
_ADTS_BYTES = 7  # of a header without checksum; ISO/IEC 13818-7, 6.2
_MAX_CHANNELS = 2
_RATES_HZ = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_OPUS_HZ = 48000
_MICROSECONDS = Fraction(1, 1_000_000)


class Sound:
    """Prepares the packets of a stream of sound.

    Args:
        stream: Where they come from; None where there is none.

    Attributes:
        problem: Why there is no sound to record, or nothing.
        format: How it is coded; None until that is known.
    """

    def __init__(self, stream: AudioStream | None) -> None:
        self.problem = ""
        self.format: SoundFormat | None = None
        if stream is None:
            self.problem = NONE
            return
        context = stream.codec_context
        self._codec, self._unit = context.name, Fraction(stream.time_base or _MICROSECONDS)
        if self._codec not in ("aac", "opus"):
            self.problem = f"MP4 cannot hold {self._codec}: {_REMEDY}"
        elif self._codec == "opus":
            channels = min(max(context.channels, 1), _MAX_CHANNELS)
            header = context.extradata or _write_opus_head(channels)
            self.format = SoundFormat("opus", header, self._unit, _OPUS_HZ, channels)
        elif context.extradata:
            self._set_aac(context.extradata)

    def convert(self, data: bytes) -> bytes:
        """A packet without the header of its stream; empty where it cannot be recorded."""
        if self.problem:
            return b""
        if self._codec == "aac" and _is_adts(data):
            self._set_aac(_read_adts(data))
            data = data[_ADTS_BYTES + (0 if data[1] & 1 else 2) :]
        return data if self.format else b""

    def _set_aac(self, header: bytes) -> None:
        """Take an AudioSpecificConfig."""
        if self.format and self.format.header == header:
            return
        bits = int.from_bytes(header[:2], "big")
        rate, channels = bits >> 7 & 15, bits >> 3 & 15
        if len(header) < 2 or rate >= len(_RATES_HZ) or not 1 <= channels <= _MAX_CHANNELS:
            self.format = None
            self.problem = f"its AAC is of an unusual kind: {_REMEDY} LC, mono or stereo"
            return
        self.format = SoundFormat("aac", header, self._unit, _RATES_HZ[rate], channels)


def _is_adts(data: bytes) -> bool:
    return len(data) > _ADTS_BYTES and data[0] == 0xFF and data[1] & 0xF6 == 0xF0


def _read_adts(data: bytes) -> bytes:
    """The AudioSpecificConfig that says the same."""
    kind, rate = (data[2] >> 6) + 1, data[2] >> 2 & 15
    channels = (data[2] & 1) << 2 | data[3] >> 6
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2, "big")


def _write_opus_head(channels: int) -> bytes:
    """The header that RTP leaves out; nothing is to be skipped, for it begins somewhere."""
    return b"OpusHead" + bytes([1, channels, 0, 0]) + _OPUS_HZ.to_bytes(4, "little") + bytes(3)
