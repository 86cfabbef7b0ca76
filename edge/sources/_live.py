"""A live stream, read in time: what is late is passed over, what need not be decoded is not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from edge.errors import SourceError
from edge.repeated_warning import RepeatedWarnings
from edge.sources._av import Video, is_flush
from edge.sources._counts import Counts
from edge.sources._lag import LagLimit
from edge.sources._tap import StreamTap
from edge.sources._thinner import Thinner
from edge.types import Decoding, StreamPacket

Decode = Callable[[Video, "Packet[Stream]", Decoding], list[VideoFrame]]

MAX_GOP_S = 20.0  # with key frames further apart than this, they are not enough to be seen alone
MAX_WAIT_S = 40.0  # for a picture; a source may be silent for 60 s


@dataclass(slots=True)
class KeyFrameWatch:
    """How far apart a camera's key frames are, over its connections.

    Attributes:
        longest_s: The longest interval so far, in seconds.
    """

    longest_s: float = 0.0
    _last_s: float | None = None

    def begin(self) -> None:
        """A connection begins."""
        self._last_s = None

    def note(self, now_s: float) -> None:
        """A key frame came."""
        if self._last_s is not None:
            self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s

    def choose(self, wanted: Decoding) -> Decoding:
        """How much to decode where ``wanted`` is asked for."""
        if wanted is Decoding.KEY_FRAMES and self.longest_s > MAX_GOP_S:
            return Decoding.NO_LOOP_FILTER
        return wanted


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame as it came.

    Attributes:
        wall_s: Unix time at which it came, or would have come had it not been late.
        monotonic_s: The same on the monotonic clock; it never steps back.
        lag_s: How late it was, in seconds.
    """

    frame: VideoFrame
    wall_s: float
    monotonic_s: float
    lag_s: float


class LiveStream:
    """Reads a live stream.

    Args:
        video: The open stream.
        limit: How late it may be; None where its stamps say nothing of that.
        watch: What is known of the camera's key frames.
        warnings: Where lags are told.
        delayed: Whether a picture comes out when the next one begins.
        decode: Decodes a packet.
        put: Takes every packet, whether it is decoded or not.
        on_sound: Told why there is no sound, or nothing; None leaves sound out.
    """

    def __init__(
        self,
        video: Video,
        limit: LagLimit | None,
        watch: KeyFrameWatch,
        warnings: RepeatedWarnings,
        *,
        delayed: bool = False,
        decode: Decode = Video.decode,
        put: Callable[[StreamPacket], None] | None = None,
        on_sound: Callable[[str], None] | None = None,
    ) -> None:
        self._video, self._limit, self._watch, self._warnings = video, limit, watch, warnings
        self._delayed, self._decode = delayed, decode
        self._tap = StreamTap(video, put, on_sound) if put else None
        self._thinner = Thinner()
        self._is_thinned = False  # the last packet's picture
        self._decodes = True
        self._begun_s = time.time(), time.monotonic()  # of the picture that comes out next
        self._unit_s = float(video.stream.time_base or 0)  # of stamps; 0: they stand still
        self._stamped_s = float("-inf")
        self._decoded_s = self._pictured_s = self._begun_s[1]
        self._waited_s = 0.0  # for the next picture
        watch.begin()

    @property
    def is_left_out(self) -> bool:
        """Whether pictures come and are not asked for."""
        return self._video.waits or not self._decodes or self._is_thinned

    def count(self) -> Counts:
        """What became of the packets so far."""
        video, limit = self._video, self._limit
        late = limit.late if limit else 0
        return Counts(video.damaged, video.undecoded, late, self._thinner.passed)

    def read(self, decoding: Decoding, max_fps: float = math.inf) -> Iterator[LiveFrame]:
        """Read a packet; the frames that it completes.

        Args:
            decoding: How much to decode from the next key frame on.
            max_fps: How many frames a second are asked for, beside key frames.

        Raises:
            SourceError: The stream ended or broke, nothing came in time, or no key frame did that
                was waited for.
        """
        video, before_s = self._video, time.monotonic()
        self._is_thinned = False
        packet = video.read()
        if packet is None or is_flush(packet):
            raise SourceError(f"{video.address} ended the stream")
        now_s = time.time(), time.monotonic()
        self._waited_s += now_s[1] - before_s
        if packet.stream_index != video.stream.index:
            self._pass_over(packet, *now_s)
            return
        arrived_s, self._begun_s = (self._begun_s if self._delayed else now_s), now_s
        self._pictured_s, waited_s, self._waited_s = now_s[1], self._waited_s, 0.0
        if packet.is_keyframe:
            self._watch.note(now_s[1])
        self._decodes = decoding is not Decoding.NONE
        in_time = self._is_in_time(packet, now_s[1], waited_s)
        if self._tap:
            lag_s = self._limit.lag_s if self._limit else 0.0
            self._tap.pass_on(packet, arrived_s[0] - lag_s, arrived_s[1] - lag_s)
        if not self._decodes:
            video.skip()
            self._decoded_s = now_s[1]
        elif in_time:
            for frame in self._decode(video, packet, self._watch.choose(decoding)):
                self._decoded_s = now_s[1]
                live = self._stamp(frame, *arrived_s)
                if frame.key_frame or self._thinner.is_due(live.monotonic_s, max_fps):
                    yield live
                else:
                    self._is_thinned = True
        else:
            video.skip()
        if video.waits and now_s[1] - self._decoded_s > MAX_WAIT_S:
            self._watch.longest_s = MAX_WAIT_S
            raise SourceError(f"{video.address} has sent no key frame for {MAX_WAIT_S:g} s")

    def _pass_over(self, packet: Packet[Stream], wall_s: float, monotonic_s: float) -> None:
        """Take a packet that is no picture."""
        video = self._video
        if monotonic_s - self._pictured_s > video.read_timeout_s:
            raise SourceError(
                f"{video.address} sends no picture for {video.read_timeout_s:g} s "
                "(read_timeout_s), though it sends sound"
            )
        if self._tap and self._tap.takes(packet):
            lag_s = self._limit.lag_s if self._limit else 0.0
            self._tap.pass_on(packet, wall_s - lag_s, monotonic_s - lag_s)

    def _stamp(self, frame: VideoFrame, wall_s: float, monotonic_s: float) -> LiveFrame:
        lag_s = self._limit.lag_s if self._limit else 0.0
        self._stamped_s = max(self._stamped_s, monotonic_s - lag_s)
        behind_s = monotonic_s - self._stamped_s
        return LiveFrame(frame, wall_s - behind_s, self._stamped_s, lag_s)

    def _is_in_time(self, packet: Packet[Stream], now_s: float, waited_s: float) -> bool:
        limit = self._limit
        if limit is None:
            return True
        was_late, lag_s = limit.is_late, limit.lag_s
        stamp = packet.pts if packet.dts is None else packet.dts
        stamp_s = None if stamp is None else stamp * self._unit_s
        admitted = limit.admit(stamp_s, now_s, waited_s, key_frame=packet.is_keyframe)
        if limit.is_hopeless:
            self._warnings.tell(
                "stamps",
                f"{self._video.address} falls {lag_s:.1f} s behind its own stamps though it is "
                "read in time: the network is too slow for it, or its stamps are wrong",
            )
        elif limit.is_late and not was_late:
            self._warnings.tell(
                "late",
                f"{self._video.address} is {limit.lag_s:.1f} s late, more than max_lag_s: it is "
                "passed over up to a key frame that is not; this machine is too busy for it",
            )
        self._warnings.sum_up()
        return admitted
