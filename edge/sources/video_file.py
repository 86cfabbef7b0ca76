"""A video file or a video at an HTTP address, played like a camera or read for evaluation."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from edge.config import Table
from edge.errors import SourceError
from edge.redaction import redact
from edge.sources._av import HardwareDevice, NameLookup, Opening, Video, open_video
from edge.sources._picture import to_picture
from edge.types import Capture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

_DEFAULT_RATE = Fraction(25)  # of a file that does not state its own
_MAX_PAUSE_S = 5.0  # between two pictures; more is a broken timestamp
_MAX_LATENESS_S = 0.5  # beyond it playback continues from now, as a camera would


class Options(Table):
    """A video file, or a video at an HTTP address.

    Attributes:
        path: Anything FFmpeg opens: MP4, MKV, GIF, raw .h264 and .h265, http(s) addresses.
        every_frame: Read as fast as inference takes frames, without dropping any, and fail at
            the end if the file is damaged. For evaluation.
        loop: Start again at the end.
        speed: Playback speed; 2 is twice as fast.
        open_timeout_s: Timeout for each of name lookup, connection and stream description, in
            seconds.
        read_timeout_s: Timeout for data, in seconds.
        hwaccel: Hardware decoder by FFmpeg's name, such as `cuda` or `vaapi`; empty uses none.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    path: str = Field(min_length=1, repr=False)
    every_frame: bool = False
    loop: bool = False
    speed: float = Field(default=1, gt=0, le=1000)
    open_timeout_s: float = Field(default=3, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)
    hwaccel: HardwareDevice = ""


class _RealTimePacing:
    """Waits until the next picture is due, on the monotonic clock."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._due_s = time.monotonic()

    def wait(self, pause_s: float, stop: threading.Event) -> tuple[float, float]:
        """Wait for the picture that comes ``pause_s`` after the last one.

        Returns:
            When it was due, in Unix seconds and monotonic seconds.
        """
        now_s = time.monotonic()
        self._due_s = max(self._due_s + pause_s / self._speed, now_s - _MAX_LATENESS_S)
        if self._due_s > now_s:
            stop.wait(self._due_s - now_s)
            now_s = time.monotonic()
        return time.time() - (now_s - self._due_s), self._due_s


class _NoPacing:
    """Waits for nothing: a picture is due when it is requested."""

    def wait(self, pause_s: float, stop: threading.Event) -> tuple[float, float]:  # noqa: ARG002
        """Return the present."""
        return time.time(), time.monotonic()


class _PacketIntervals:
    """Seconds between packets of a stream, from its timestamps or its rate."""

    def __init__(self, stream: VideoStream) -> None:
        rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
        self.default_s = min(float(1 / rate), _MAX_PAUSE_S)
        self._last: Fraction | None = None

    def next(self, packet: Packet[Stream]) -> float:
        """Seconds between the previous packet and this one."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or packet.time_base is None:
            return self.default_s
        at, last = stamp * packet.time_base, self._last
        self._last = at
        if last is None or not 0 <= at - last <= _MAX_PAUSE_S:
            return self.default_s
        return float(at - last)


class _SizeChangeError(SourceError):
    """The picture size changes at frame ``row`` of the file."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class _Playback:
    """State of one connection, shared by the rounds of a file that loops."""

    def __init__(self, options: Options, skip: int, stop: threading.Event) -> None:
        self._every_frame = options.every_frame
        self._pacing = _NoPacing() if options.every_frame else _RealTimePacing(options.speed)
        self._skip = skip
        self._stop = stop
        self._size_wh: tuple[int, int] | None = None

    def play_once(self, video: Video) -> Iterator[Capture]:
        """Play the file once, from its first frame or the one to resume at."""
        row = damaged = 0
        for capture in self._pictures(video):
            if capture is None:
                damaged += 1
                continue
            if row >= self._skip:
                self._check_size(capture.picture.size_wh, row, video.address)
                yield capture
            row += 1
        self._skip = 0
        if self._stop.is_set():
            return
        if not row:
            raise SourceError(f"{video.address} contains no picture that can be decoded")
        if damaged:
            problem = f"{video.address} is damaged: {damaged} packets after {row} good frames"
            log.debug(problem)
            if self._every_frame:
                raise SourceError(problem)

    def _pictures(self, video: Video) -> Iterator[Capture | None]:
        """Yield each frame when it is due; None for each packet that cannot be decoded."""
        intervals, row = _PacketIntervals(video.stream), 0
        while not self._stop.is_set() and (packet := video.read()) is not None:
            if packet.stream_index != video.stream.index:
                continue
            pacing = self._pacing if row >= self._skip else _NoPacing()
            pause_s = intervals.next(packet) if packet.size else intervals.default_s
            due = pacing.wait(pause_s, self._stop)
            frames = video.decode(packet)
            if frames is None or packet.is_corrupt:
                yield None
            for nth, frame in enumerate(frames or ()):
                if nth:  # the decoder held some back until the end
                    due = pacing.wait(intervals.default_s, self._stop)
                if self._stop.is_set():
                    return
                row += 1
                yield Capture(to_picture(frame), *due)

    def _check_size(self, size_wh: tuple[int, int], row: int, address: str) -> None:
        if self._size_wh not in (None, size_wh):
            raise _SizeChangeError(f"{address}: the picture size changed to {size_wh}", row)
        self._size_wh = size_wh


class VideoFile:
    """A video file, played as a camera."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lookup = NameLookup()
        self._resume_at = 0  # row of the first frame after a change of the picture size

    @property
    def address(self) -> str:
        """The path as given, or the URL without secrets."""
        return redact(self._options.path)

    @property
    def every_frame(self) -> bool:
        """Whether the reader waits until each frame was taken."""
        return self._options.every_frame

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Open the file; iterate its captures to the end, or without end when it loops.

        After a change of the picture size, the next connection resumes where this one ended.

        Raises:
            SourceError: It cannot be opened or read, contains no picture, or the size changed.
        """
        with self._open() as video, contextlib.closing(self._captures(video, stop)) as captures:
            yield captures

    def _open(self) -> contextlib.AbstractContextManager[Video]:
        options = self._options
        remote = "://" in options.path
        return open_video(
            Opening(
                url=options.path if remote else f"file:{options.path}",
                address=self.address,
                # a playlist on disk must not open network connections
                options={} if remote else {"protocol_whitelist": "file,crypto,data"},
                open_timeout_s=options.open_timeout_s,
                read_timeout_s=options.read_timeout_s,
                hwaccel=options.hwaccel,
            ),
            self._lookup,
        )

    def _captures(self, first: Video, stop: threading.Event) -> Generator[Capture]:
        playback = _Playback(self._options, self._resume_at, stop)
        self._resume_at = 0
        try:
            yield from playback.play_once(first)
            while self._options.loop and not stop.is_set():
                with self._open() as video:
                    yield from playback.play_once(video)
        except _SizeChangeError as change:
            self._resume_at = change.row
            raise


def build(options: Options) -> VideoFile:
    """Create the source that options describe."""
    return VideoFile(options)
