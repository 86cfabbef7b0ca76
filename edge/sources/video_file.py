"""A video file or a video at a http(s) address, played like a camera or read for evaluation."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from edge.errors import SourceError
from edge.redaction import redact
from edge.sources._av import HardwareDevice, NameLookup, Opening, Video, open_video
from edge.sources._picture import picture_of
from edge.types import Capture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

_USUAL_RATE = Fraction(25)  # of a file that does not say
_LONGEST_PAUSE_S = 5.0  # between two pictures; more is a broken time stamp
_LATENESS_S = 0.5  # beyond it the player goes on from now, as a camera would


class Options(BaseModel):
    """Which file and how to play it.

    Attributes:
        path: anything FFmpeg opens: MP4, MKV, GIF, raw .h264 and .h265, http(s) addresses.
        every_frame: read as fast as frames are taken, and fail at the end when the file is
            damaged; for evaluation.
        loop: begin again at the end.
        speed: playing speed, 2 is twice as fast.
        open_timeout_s: longest wait for each of name server, connection and description.
        read_timeout_s: longest wait for data.
        hwaccel: hardware decoder by FFmpeg's name, such as cuda or vaapi; empty for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str = Field(min_length=1, repr=False)
    every_frame: bool = False
    loop: bool = False
    speed: float = Field(default=1, gt=0, le=1000)
    open_timeout_s: float = Field(default=3, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)
    hwaccel: HardwareDevice = ""


class _Player:
    """Says when the next picture is due, on the monotonic clock."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._due_s = time.monotonic()

    def wait(self, pause_s: float, stop: threading.Event) -> tuple[float, float]:
        """Until the picture is due that comes ``pause_s`` after the last one.

        Returns:
            When it was due: Unix seconds and monotonic seconds.
        """
        now_s = time.monotonic()
        self._due_s = max(self._due_s + pause_s / self._speed, now_s - _LATENESS_S)
        if self._due_s > now_s:
            stop.wait(self._due_s - now_s)
            now_s = time.monotonic()
        return time.time() - (now_s - self._due_s), self._due_s


class _Hurry:
    """Plays no pauses: a picture is due when it is asked for."""

    def wait(self, pause_s: float, stop: threading.Event) -> tuple[float, float]:  # noqa: ARG002
        """Now."""
        return time.time(), time.monotonic()


class _Pauses:
    """Seconds between packets of a stream, from its time stamps or its rate."""

    def __init__(self, stream: VideoStream) -> None:
        rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
        self.usual_s = min(float(1 / rate), _LONGEST_PAUSE_S)
        self._last: Fraction | None = None

    def before(self, packet: Packet[Stream]) -> float:
        """Seconds between the packet before and this one."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or packet.time_base is None:
            return self.usual_s
        at, last = stamp * packet.time_base, self._last
        self._last = at
        if last is None or not 0 <= at - last <= _LONGEST_PAUSE_S:
            return self.usual_s
        return float(at - last)


class _SizeChangeError(SourceError):
    """The pictures have another size from frame ``row`` of the file on."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class _Playback:
    """One connection: what the rounds of a file that loops have in common."""

    def __init__(self, options: Options, skip: int, stop: threading.Event) -> None:
        self._every_frame = options.every_frame
        self._player = _Hurry() if options.every_frame else _Player(options.speed)
        self._skip = skip
        self._stop = stop
        self._size_wh: tuple[int, int] | None = None

    def one_round(self, video: Video) -> Iterator[Capture]:
        """The file from its first frame, or from the one it was to begin at, to its end."""
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
            raise SourceError(f"{video.address} holds no picture that can be decoded")
        if damaged:
            problem = f"{video.address} is damaged: {damaged} packets after {row} good frames"
            log.debug(problem)
            if self._every_frame:
                raise SourceError(problem)

    def _pictures(self, video: Video) -> Iterator[Capture | None]:
        """Every frame of a file when it is due; None for each packet that is garbage."""
        pauses, row = _Pauses(video.stream), 0
        while not self._stop.is_set() and (packet := video.read()) is not None:
            if packet.stream_index != video.stream.index:
                continue
            player = self._player if row >= self._skip else _Hurry()
            pause_s = pauses.before(packet) if packet.size else pauses.usual_s
            due = player.wait(pause_s, self._stop)
            frames = video.decode(packet)
            if frames is None or packet.is_corrupt:
                yield None
            for nth, frame in enumerate(frames or ()):
                if nth:  # the decoder held some back until the end
                    due = player.wait(pauses.usual_s, self._stop)
                if self._stop.is_set():
                    return
                row += 1
                yield Capture(picture_of(frame), *due)

    def _check_size(self, size_wh: tuple[int, int], row: int, address: str) -> None:
        if self._size_wh not in (None, size_wh):
            raise _SizeChangeError(f"{address}: the picture size is now {size_wh}", row)
        self._size_wh = size_wh


class VideoFile:
    """A file as a camera."""

    def __init__(self, options: Options) -> None:
        """Open nothing yet."""
        self._options = options
        self._lookup = NameLookup()
        self._begin_at = 0  # row of the first frame after a change of the picture size

    @property
    def address(self) -> str:
        """The path as given, or the URL without secrets."""
        return redact(self._options.path)

    @property
    def every_frame(self) -> bool:
        """Whether its reader waits until each frame was taken."""
        return self._options.every_frame

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Open the file; iterate its captures to the end, or for ever when it loops.

        After a change of the picture size the next connection goes on where this one ended.

        Raises:
            SourceError: it cannot be opened or read, holds no picture, or the size changed.
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
                # a playlist on disk must not make us call somebody
                options={} if remote else {"protocol_whitelist": "file,crypto,data"},
                open_timeout_s=options.open_timeout_s,
                read_timeout_s=options.read_timeout_s,
                hwaccel=options.hwaccel,
            ),
            self._lookup,
        )

    def _captures(self, first: Video, stop: threading.Event) -> Generator[Capture]:
        playback = _Playback(self._options, self._begin_at, stop)
        self._begin_at = 0
        try:
            yield from playback.one_round(first)
            while self._options.loop and not stop.is_set():
                with self._open() as video:
                    yield from playback.one_round(video)
        except _SizeChangeError as change:
            self._begin_at = change.row
            raise


def build(options: Options) -> VideoFile:
    """The source these options describe."""
    return VideoFile(options)
