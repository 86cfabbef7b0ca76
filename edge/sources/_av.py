"""Video through PyAV: what `rtsp`, `http` and `video_file` have in common.

PyAV's exceptions contain the URL with its password. They are translated in one place, `call_av`,
whose errors have no cause and no context.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar, cast

import av
from av.audio.stream import AudioStream
from av.codec.context import Flags as CodecFlags
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError, HTTPForbiddenError, HTTPUnauthorizedError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from pydantic import AfterValidator

from edge.errors import SourceDeniedError, SourceError
from edge.redaction import redact
from edge.sources._address import parse_host
from edge.sources._decoder import StreamDecoder
from edge.sources._picture import measure_pixel_aspect, to_picture
from edge.types import Decoding, Picture

T = TypeVar("T")

# The largest single piece of memory that FFmpeg may ask for: a plane of 20 megapixels. What a
# camera makes it grow without end (a NAL unit in pieces, a stream description) stops here; it is
# held up to three times for a moment; with what else a camera takes, that stays below 64 MiB.
MAX_ALLOCATION_BYTES = 20 << 20
_MAX_STREAMS = "64"
_MAX_PIXELS = "24000000"
_CODEC_OPTIONS = {"max_pixels": _MAX_PIXELS}


def _known_device(name: str) -> str:
    if name and name not in hwdevices_available():
        raise ValueError(f"is not a known device: use one of {', '.join(hwdevices_available())}")
    return name


HardwareDevice = Annotated[str, AfterValidator(_known_device)]


@cache
def limit_allocations() -> None:
    """Limit each allocation of the FFmpeg that PyAV has loaded, for the life of this process."""
    av.open  # noqa: B018 - loads the library
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        path = line[line.find("/") :] if "/" in line else ""
        if re.search(r"/libavutil[-.][^/]*$", path) and "opencv" not in path:
            ctypes.CDLL(path).av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES))
            return


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a call may take, and what to say when it took longer.

    Attributes:
        timeout_s: Seconds.
        remedy: The end of the sentence "the camera ...", with the key to raise.
    """

    timeout_s: float
    remedy: str

    @classmethod
    def to_open(cls, timeout_s: float) -> Deadline:
        """For the first answer."""
        return cls(
            timeout_s, f"did not answer within {timeout_s:g} s: raise open_timeout_s if it is slow"
        )

    @classmethod
    def to_read(cls, timeout_s: float) -> Deadline:
        """For data."""
        return cls(timeout_s, f"was silent for {timeout_s:g} s (read_timeout_s)")


def call_av(
    address: str,
    action: Callable[[], T],
    deadline: Deadline,
    discard: Callable[[T], None] = lambda _: None,
) -> T:
    """Call PyAV and translate its exceptions.

    FFmpeg answers an interrupted call with one of many errors, or with the rest of a picture;
    whether the deadline has passed is decided by the clock.

    Args:
        address: What is opened or read, as it may be shown.
        action: The call.
        deadline: When it is late.
        discard: Frees a result that came too late.

    Raises:
        SourceDeniedError: The camera refused user or password.
        SourceError: Anything else went wrong.
    """
    started_s = time.monotonic()
    problem: SourceError
    try:
        result = action()
    except (HTTPUnauthorizedError, HTTPForbiddenError):
        problem = SourceDeniedError(f"{address} refused the login: check user and password")
    except SourceError as error:  # of a file object of ours that PyAV reads
        problem = type(error)(error.problem)
    except (FFmpegError, OSError) as error:
        problem = SourceError(f"{address}: {explain(error)}")
    except (NotImplementedError, RuntimeError, ValueError) as error:  # of HWAccel
        problem = SourceError(f"{address} cannot be opened: {redact(str(error))}")
    else:
        if time.monotonic() - started_s < deadline.timeout_s:
            return result
        discard(result)
        problem = SourceError("late")
    if time.monotonic() - started_s >= deadline.timeout_s:
        problem = SourceError(f"{address} {deadline.remedy}")
    raise problem  # outside of the handlers, so that Python adds no context


_REMEDIES = {
    errno.ECONNREFUSED: "Connection refused: is the camera on, and is the port right?",
    errno.EHOSTUNREACH: "No route to host: is the camera on, and in this network?",
    errno.ENETUNREACH: "Network is unreachable: check this machine's network",
    errno.ECONNRESET: "Connection reset: it ended the stream",
    errno.EPIPE: "Broken pipe: it ended the stream",
    errno.EIO: "Input/output error: the connection broke, or it ended the stream",
    errno.ENOMEM: (
        f"it sends more than {MAX_ALLOCATION_BYTES >> 20} MiB in one piece, or pictures that need "
        "as much: not a camera's stream, or more than 20 megapixels"
    ),
    errno.EINVAL: "Invalid argument: it answers with something that FFmpeg cannot use",
}
_STATUS = re.compile(r"Server returned (?P<status>[45][0-9X]{2})")


def explain(error: FFmpegError | OSError) -> str:
    """What happened in words that lead to a remedy; never the URL that the error holds."""
    words = error.strerror or type(error).__name__
    if status := _STATUS.search(words):
        if status["status"] == "404":
            return "404 Not Found: there is no stream at this path: check the path"
        return f"{words}: check the camera"
    if isinstance(error, av.error.InvalidDataError):
        return "Invalid data found: this is not video: check the address, or the file, and the kind"
    if isinstance(error, av.error.EOFError):
        return "it ended the stream"
    return _REMEDIES.get(error.errno or 0, words)


@dataclass(frozen=True, slots=True)
class Opening:
    """What to open and how.

    Attributes:
        url: What PyAV opens, possibly with a password.
        address: The same without secrets.
        options: Options of the demuxer.
        open_timeout_s: Timeout for each of name lookup, connection and stream description.
        read_timeout_s: Timeout for a packet.
        hwaccel: A hardware device by FFmpeg's name, or empty.
        low_delay: Ask the decoder not to hold pictures back.
        file: Read from this instead of ``url``.
        format: The demuxer by FFmpeg's name; None finds out.
        io_open: Opens what a playlist in ``file`` names.
    """

    url: str = field(repr=False)
    address: str
    options: dict[str, str]
    open_timeout_s: float
    read_timeout_s: float
    hwaccel: str = ""
    low_delay: bool = False
    file: BinaryIO | None = None
    format: str | None = None
    io_open: Callable[[str, int, dict[str, str]], BinaryIO] | None = None


class Video:
    """The best video stream of an open container. Used by one thread.

    Attributes:
        codec: What the pictures are coded with, by FFmpeg's name.
        sound: The stream of sound beside it, if any.
        read_timeout_s: Timeout for a packet.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, opening: Opening) -> None:
        self.address = opening.address
        self.stream = stream
        self.sound = cast("AudioStream | None", container.streams.best("audio"))
        self.format = container.format.name
        self.codec = stream.codec_context.name
        self._decoder = StreamDecoder(
            stream.codec_context, _CODEC_OPTIONS, is_hardware=bool(opening.hwaccel)
        )
        self.read_timeout_s = opening.read_timeout_s
        self._deadline = Deadline.to_read(opening.read_timeout_s)
        self._packets = cast("Generator[Packet[Stream]]", container.demux())

    def read(self) -> Packet[Stream] | None:
        """Read the next packet of any stream; None at the end; the last ones flush decoders.

        Raises:
            SourceError: Nothing came within the read timeout, or the connection broke.
        """
        return call_av(self.address, lambda: next(self._packets, None), self._deadline)

    @property
    def damaged(self) -> int:
        """Packets and pictures so far that could not be decoded, or not whole."""
        return self._decoder.damaged

    @property
    def undecoded(self) -> int:
        """Packets so far that were not to be decoded."""
        return self._decoder.undecoded

    @property
    def waits(self) -> bool:
        """Whether packets are left out until the next key frame."""
        return self._decoder.waits

    def decode(self, packet: Packet[Stream], decoding: Decoding = Decoding.ALL) -> list[VideoFrame]:
        """The frames that a packet completes; none when it cannot be decoded.

        Args:
            packet: The one that was read last, of any stream.
            decoding: How much to decode from the next key frame on.
        """
        if packet.stream.index != self.stream.index:  # its own index is 0 in the empty ones
            return []
        if not packet.size and not is_flush(packet):  # repeats the last picture, as Theora does
            return []
        return self._decoder.decode(packet, decoding)

    def skip(self) -> None:
        """Leave a packet out, and all others up to the next key frame."""
        self._decoder.skip()

    def to_picture(self, frame: VideoFrame) -> Picture:
        """A frame as a picture, in the shape that the stream says.

        Raises:
            SourceError: Its format is none that can be converted.
        """
        try:
            return to_picture(frame, measure_pixel_aspect(self.stream.codec_context))
        except SourceError as error:
            problem = f"{self.address}: {error.problem}"
        raise SourceError(problem)

    def close(self) -> None:
        """Stop reading."""
        self._packets.close()


def is_flush(packet: Packet[Stream]) -> bool:
    """Whether this is one of the empty packets behind the last one."""
    return not packet.size and packet.dts is None and packet.pts is None


@contextlib.contextmanager
def open_video(opening: Opening, resolve: Callable[[str, float], bool]) -> Iterator[Video]:
    """Connect, find the video stream and set up its decoder; close all of it on exit.

    Raises:
        SourceError: There is none, or it does not answer.
    """
    host = "" if opening.file else parse_host(opening.url)
    if host and not resolve(host, opening.open_timeout_s):
        raise SourceError(f"{opening.address}: the name {host} cannot be resolved")
    shown = opening.address + (f" with hwaccel {opening.hwaccel}" if opening.hwaccel else "")
    deadline = Deadline.to_open(opening.open_timeout_s)
    try:
        container = call_av(shown, lambda: _open(opening), deadline, InputContainer.close)
    except SourceError:
        if opening.hwaccel:
            gc.collect()  # PyAV leaves the connection in a cycle
        raise
    with contextlib.closing(container):
        stream = cast("VideoStream | None", container.streams.best("video"))
        if stream is None or stream.codec_context is None:
            raise SourceError(f"{opening.address} has no video that can be decoded")
        context = stream.codec_context
        context.thread_count = 1  # more threads would delay frames
        context.options = {**context.options, **_CODEC_OPTIONS}
        if opening.low_delay:
            context.flags |= CodecFlags.low_delay
        with contextlib.closing(Video(container, stream, opening)) as video:
            yield video


def _open(opening: Opening) -> InputContainer:
    device = HWAccel(opening.hwaccel, allow_software_fallback=False) if opening.hwaccel else None
    source: BinaryIO | str = opening.file or opening.url
    return av.open(
        source,
        "r",
        format=opening.format,
        options={"max_streams": _MAX_STREAMS, **_CODEC_OPTIONS, **opening.options},
        timeout=(opening.open_timeout_s, opening.read_timeout_s),
        metadata_errors="replace",
        hwaccel=device,
        io_open=opening.io_open,
    )
