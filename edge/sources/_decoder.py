"""The decoder of a stream, which decodes as much of it as is asked for.

Leaving out needs key frames that stand alone. So a stream is decoded whole until two were seen, and
where what it calls a key frame is none (intra refresh) for good.
"""

from __future__ import annotations

from typing import Final, cast

from av.codec.context import CodecContext
from av.codec.context import Flags as CodecFlags
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.types import Decoding

_FILTERED: Final = {"h264", "hevc"}  # codecs that have a loop filter worth leaving out
_PROVEN_KEYS: Final = 2


class StreamDecoder:
    """Decodes one stream. What is asked for holds from the next key frame on.

    Args:
        context: The stream's own decoder.
        is_hardware: Whether it decodes in hardware, whose loop filter stays.
        options: Options of every decoder.

    Attributes:
        damaged: Packets and pictures so far that could not be decoded, or not whole.
        undecoded: Packets so far that were left out because only key frames were asked for.
        waits: Whether what comes is left out until the next key frame.
    """

    def __init__(
        self, context: VideoCodecContext, options: dict[str, str], *, is_hardware: bool
    ) -> None:
        self.damaged = self.undecoded = 0
        self.waits = False
        self._whole = self._present = context
        self._options = options
        self._keys = 0  # key frames that stand alone
        self._has_false_keys = False
        self._can_be_rough = context.name in _FILTERED and not is_hardware

    def decode(self, packet: Packet[Stream], decoding: Decoding) -> list[VideoFrame]:
        """The frames that a packet completes; none when it is left out or cannot be decoded."""
        if not packet.size:
            return self._feed(packet)
        frames = []
        if packet.is_keyframe:
            self.waits = False
            frames = self._switch(packet, rough=decoding is Decoding.NO_LOOP_FILTER)
        elif self.waits or (decoding is Decoding.KEY_FRAMES and self._is_proven):
            self.waits = True
            self.undecoded += 1
            return []
        return frames + self._feed(packet)

    def skip(self) -> None:
        """Take note that a packet is passed over."""
        self.waits = True

    @property
    def _is_proven(self) -> bool:
        return self._keys >= _PROVEN_KEYS and not self._has_false_keys

    def _switch(self, packet: Packet[Stream], *, rough: bool) -> list[VideoFrame]:
        """Change to the decoder that is to go on from here; what the other one holds back."""
        wanted = self._whole
        if rough and self._can_be_rough and self._is_proven:
            wanted = self._present if self._present is not self._whole else self._copy()
        if wanted is self._present:
            return []
        end = Packet()
        end.stream, end.time_base = packet.stream, packet.time_base  # for its frames' time
        frames = self._decode(end)
        self._present.flush_buffers()
        self._present = wanted
        return frames

    def _copy(self) -> VideoCodecContext:
        """A decoder that leaves the loop filter out."""
        whole = self._whole
        copy = cast(VideoCodecContext, CodecContext.create(whole.name, "r"))
        copy.extradata = whole.extradata
        copy.thread_count = 1
        copy.flags |= whole.flags & CodecFlags.low_delay
        copy.options = {**self._options, "skip_loop_filter": "all"}
        return copy

    def _feed(self, packet: Packet[Stream]) -> list[VideoFrame]:
        damaged = self.damaged
        frames = self._decode(packet)
        is_rough = self._present is not self._whole
        if is_rough and self.damaged > damaged and packet.is_keyframe:
            self._can_be_rough = False  # parameters may have come in a packet before
            self.damaged = damaged
            self._present = self._whole
            frames = self._decode(packet)
        for frame in frames:
            if frame.key_frame:
                self._keys += 1
            elif packet.is_keyframe and frame.pts == packet.pts:
                self._has_false_keys = True  # a place to begin at, from which the picture recovers
            self._can_be_rough &= not frame.rotation  # only the stream's own decoder knows it
        return frames

    def _decode(self, packet: Packet[Stream]) -> list[VideoFrame]:
        try:
            frames = self._present.decode(packet)
        except FFmpegError:
            self.damaged += 1
            return []
        self.damaged += sum(bool(frame.is_corrupt) for frame in frames)
        return frames
