"""A recording: a video file, played like a camera or read for evaluation.

Its time is its own: pictures are stamped by the recording's stamps, whatever the speed of reading.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from edge import plugins
from edge.config import Table
from edge.errors import SourceEndedError, SourceError
from edge.ports import Source
from edge.redaction import show_address
from edge.sources._address import check_url
from edge.sources._av import HardwareDevice, Opening, Video, open_video
from edge.sources._helper_thread import FileProbe, NameLookup
from edge.sources._login import expand
from edge.sources._tap import StreamTap
from edge.types import Capture, Picture, StreamPacket

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

_DEFAULT_RATE = Fraction(25)  # of a recording that does not state its own
_MAX_PERIOD_S = 5.0  # of a nominal rate
_MAX_STEP_S = 3600.0  # from stamp to stamp; more is a broken stamp, not a time-lapse
_MAX_PAUSE_S = 5.0  # a time-lapse is played without its longer pauses
_MAX_LATENESS_S = 0.5  # beyond it playback continues from now, as a camera would
_LIVE_KINDS = {"rtsp": "rtsp", "rtsps": "rtsp"} | dict.fromkeys(
    ("http", "https", "rtmp", "rtmps", "srt", "udp", "rtp", "tcp"), "http"
)
_TICKS = 2**20  # times are whole 2^-20 s, so that their differences are exact on every machine


def _expand_address(path: object) -> object:
    return expand(path, encode=True) if isinstance(path, str) and "://" in path else path


def _is_path_or_address(path: str) -> str:
    if "\0" in path:
        raise ValueError("contains a NUL character: correct the path")
    return check_url(path, tuple(_LIVE_KINDS)) if _is_live(path) else path


def _is_live(path: str) -> bool:
    return "://" in path and not path.startswith("file:")


class Options(Table):
    """A recording on this machine; for live addresses use `http` or `rtsp`.

    Attributes:
        path: Any file FFmpeg opens: MP4, MKV, GIF, raw .h264 and .h265. An address is read as
            kind `http` or `rtsp` does, with a warning: it has neither a pace nor an end.
        every_frame: Read as fast as inference takes frames, without dropping any. For evaluation.
        loop: Start again at the end.
        speed: Playback speed; 2 is twice as fast. Times in messages are the recording's at any
            speed.
        open_timeout_s: Timeout for its file system and for the description of its streams, in
            seconds.
        read_timeout_s: Timeout for data, in seconds.
        hwaccel: Hardware decoder by FFmpeg's name, such as `cuda` or `vaapi`; empty uses none.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    path: Annotated[
        str,
        Field(min_length=1, repr=False),
        BeforeValidator(_expand_address),
        AfterValidator(_is_path_or_address),
    ]
    every_frame: bool = False
    loop: bool = False
    speed: float = Field(default=1, ge=0.01, le=1000)
    open_timeout_s: float = Field(default=3, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)
    hwaccel: HardwareDevice = ""


def _tick(seconds: float) -> float:
    return round(seconds * _TICKS) / _TICKS


class RecordingClock:
    """The time in a recording, over its rounds and connections.

    A picture comes as long after the one before as their stamps say; where there is no stamp, or
    it steps back or ahead by more than an hour, one period of the nominal rate.

    Attributes:
        at_s: Seconds from the first picture to the last one.
    """

    def __init__(self) -> None:
        self._wall_s = time.time()
        self._monotonic_s = _tick(time.monotonic())
        self._period_s = 0.0
        self._elapsed_s = Fraction(0)
        self._last: Fraction | None = None
        self._began = False

    @property
    def at_s(self) -> float:
        """Seconds from the first picture to the last one."""
        return _tick(float(self._elapsed_s))

    def begin_round(self, stream: VideoStream) -> None:
        """Prepare for the recording from its beginning; time goes on."""
        rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
        self._period_s = min(float(1 / rate), _MAX_PERIOD_S)
        self._last = None

    def advance(self, frame: VideoFrame) -> None:
        """Go on to a picture."""
        step = self._step(frame)
        if self._began:
            self._elapsed_s += step
        self._began = True

    def pass_over(self, frame: VideoFrame) -> None:
        """Note the stamp of a picture that was there before, without going on."""
        self._step(frame)

    def stamp(self, picture: Picture, damaged: int, *, key_frame: bool) -> Capture:
        """The capture of the picture that the clock is at."""
        at_s = self.at_s
        return Capture(
            picture,
            self._wall_s + at_s,
            self._monotonic_s + at_s,
            time.monotonic(),
            key_frame,
            damaged,
        )

    def _step(self, frame: VideoFrame) -> Fraction:
        period, last = Fraction(self._period_s), self._last
        if frame.pts is None or frame.time_base is None:
            return period
        self._last = frame.pts * frame.time_base
        if last is None or not 0 < self._last - last <= _MAX_STEP_S:
            return period
        return self._last - last


class _RealTimePacing:
    """Waits until a picture is due."""

    def __init__(self, speed: float, at_s: float) -> None:
        self._speed = speed
        self._zero_s = time.monotonic() - at_s / speed

    def wait(self, at_s: float, stop: threading.Event) -> None:
        """Wait for the picture ``at_s`` seconds behind the first one."""
        now_s, due_s = time.monotonic(), self._zero_s + at_s / self._speed
        pause_s = min(due_s - now_s, _MAX_PAUSE_S)
        if pause_s > 0:
            stop.wait(pause_s)
        if not -_MAX_LATENESS_S <= pause_s == due_s - now_s:
            self._zero_s += now_s + max(pause_s, 0) - due_s


class _NoPacing:
    """Waits for nothing."""

    def wait(self, at_s: float, stop: threading.Event) -> None:
        """Return at once."""


class _SizeChangeError(SourceError):
    """The picture size changes at frame ``row`` of the file."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


@dataclass(slots=True)
class _Playback:
    """One connection, over the rounds of a file that loops.

    Attributes:
        clock: The recording's time.
        pacing: Waits for it.
        skip: Pictures of the first round that an earlier connection delivered.
        put: Takes every packet.
        on_sound: Told why there is no sound, or nothing; None leaves sound out.
        row: Pictures of this round so far.
    """

    clock: RecordingClock
    pacing: _RealTimePacing | _NoPacing
    skip: int
    stop: threading.Event
    put: Callable[[StreamPacket], None] | None = None
    on_sound: Callable[[str], None] | None = None
    row: int = 0
    size_wh: tuple[int, int] | None = None
    _read: list[Packet[Stream]] = field(default_factory=list)

    def play_once(self, video: Video) -> Iterator[Capture]:
        """Play the file once, from its first frame or the one to resume at."""
        self.clock.begin_round(video.stream)
        self.row = told = 0
        tap = StreamTap(video, self.put, self.on_sound) if self.put else None
        last: tuple[VideoFrame, Capture] | None = None
        for frame in self._decode(video, tap):
            if self.row < self.skip:
                self.clock.pass_over(frame)
                self._read.clear()
            else:
                self.clock.advance(frame)
                self.pacing.wait(self.clock.at_s, self.stop)
                if self.stop.is_set():
                    return
                picture, key_frame = video.to_picture(frame), bool(frame.key_frame)
                capture = self.clock.stamp(picture, video.damaged - told, key_frame=key_frame)
                self._check_size(capture.picture.size_wh, video.address)
                told = video.damaged
                if tap:
                    self._pass_on(tap, frame, capture)
                    last = frame, capture
                yield capture
            self.row += 1
        if tap and last:
            self._pass_on(tap, *last)  # sound behind the last picture
        self.skip = 0

    def _decode(self, video: Video, tap: StreamTap | None) -> Iterator[VideoFrame]:
        while not self.stop.is_set() and (packet := video.read()) is not None:
            if tap and tap.takes(packet):
                self._read.append(packet)
            yield from video.decode(packet)

    def _pass_on(self, tap: StreamTap, frame: VideoFrame, capture: Capture) -> None:
        """Hand on what was read, at the times at which a camera would have sent it."""
        at_s = (frame.pts or 0) * float(frame.time_base or 0)
        for packet in self._read:
            offset_s = 0.0
            if packet.dts is not None and frame.pts is not None:
                offset_s = packet.dts * float(packet.time_base or 0) - at_s
            tap.pass_on(packet, capture.captured_s + offset_s, capture.monotonic_s + offset_s)
        self._read.clear()

    def _check_size(self, size_wh: tuple[int, int], address: str) -> None:
        if self.size_wh not in (None, size_wh):
            raise _SizeChangeError(f"{address}: the picture size changed to {size_wh}", self.row)
        self.size_wh = size_wh


class VideoFile:
    """A recording, played as a camera.

    Attributes:
        codec: What the pictures are coded with, by FFmpeg's name; empty before the first one.
        tap: Takes every packet.
        on_sound: Told why its sound does not reach the tap, or nothing; None leaves sound out.
    """

    codec = ""
    tap: Callable[[StreamPacket], None] | None = None
    on_sound: Callable[[str], None] | None = None

    def __init__(self, options: Options) -> None:
        self._options = options
        self._probe = FileProbe()
        self._lookup = NameLookup()
        self._clock: RecordingClock | None = None  # of a recording that is not at its end
        self._resume_at = 0  # row of the first frame that no connection has delivered
        self._failed_at = -1

    @property
    def address(self) -> str:
        """The path as given."""
        return show_address(self._options.path)

    @property
    def every_frame(self) -> bool:
        """Whether the reader waits until each frame was taken."""
        return self._options.every_frame

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Open the file; iterate its captures to the end, or without end when it loops.

        After a change of the picture size or a failure, the next connection resumes where this
        one ended.

        Raises:
            SourceEndedError: It has no picture, is damaged, or fails again at the same place.
            SourceError: It cannot be opened or read now, or the size changed.
        """
        with contextlib.ExitStack() as opened:
            first = opened.enter_context(self._open())
            captures = self._captures(first, opened, stop)
            del first  # only the first round needs it: a decoder holds many pictures
            with contextlib.closing(captures):
                yield captures

    @contextlib.contextmanager
    def _open(self) -> Iterator[Video]:
        options = self._options
        path = options.path.removeprefix("file:")
        self._probe.check(path, options.open_timeout_s)
        opening = Opening(
            url=f"file:{path}",
            address=self.address,
            # a playlist on disk must not open network connections
            options={"protocol_whitelist": "file,crypto,data"},
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
            hwaccel=options.hwaccel,
        )
        with open_video(opening, self._lookup) as video:
            self.codec = video.codec
            yield video

    def _captures(
        self, first: Video, opened: contextlib.ExitStack, stop: threading.Event
    ) -> Generator[Capture]:
        options, clock = self._options, self._clock
        if clock is None:
            clock = self._clock = RecordingClock()
        pacing = _NoPacing() if options.every_frame else _RealTimePacing(options.speed, clock.at_s)
        playback = _Playback(clock, pacing, self._resume_at, stop, self.tap, self.on_sound)
        try:
            yield from playback.play_once(first)
            self._end_round(first, playback, stop)
            opened.close()
            del first
            while options.loop and not stop.is_set():
                yield from self._play_again(playback)
        except _SizeChangeError as change:
            self._resume_at = change.row
            raise
        except SourceEndedError:
            self._forget()
            raise
        except SourceError as error:
            if playback.row <= self._failed_at:
                self._forget()
                raise SourceEndedError(
                    f"{error.problem} (again, after {playback.row} good frames)"
                ) from None
            self._resume_at = self._failed_at = playback.row
            raise
        if not stop.is_set():
            self._forget()

    def _play_again(self, playback: _Playback) -> Iterator[Capture]:
        with self._open() as video:
            yield from playback.play_once(video)

    def _end_round(self, video: Video, playback: _Playback, stop: threading.Event) -> None:
        """Say what was wrong with the recording, once."""
        if stop.is_set():
            return
        if not playback.row:
            raise SourceEndedError(f"{video.address} contains no picture that can be decoded")
        if not video.damaged:
            return
        problem = (
            f"{video.address} is damaged: {video.damaged} packets or pictures beside "
            f"{playback.row} good frames"
        )
        if not self._options.loop:
            raise SourceEndedError(problem)
        log.warning(problem)

    def _forget(self) -> None:
        self._clock, self._resume_at, self._failed_at = None, 0, -1


def build(options: Options) -> Source:
    """Create the source that options describe; a live one for a live address."""
    if not _is_live(options.path):
        return VideoFile(options)
    kind = _LIVE_KINDS[options.path.partition("://")[0].lower()]
    log.warning(
        'video_file is for recordings, and %s is a live address: it is read like kind = "%s". '
        "Write that kind, with url instead of path",
        show_address(options.path),
        kind,
    )
    table = options.model_dump(include={"open_timeout_s", "read_timeout_s", "hwaccel"})
    live: Source = plugins.create("sources", {"kind": kind, "url": options.path, **table})
    return live
