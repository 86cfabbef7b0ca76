"""Video through PyAV: what `rtsp` and `video_file` have in common.

PyAV's exceptions contain the URL with its password. They are translated in one place, `call_av`,
whose errors have no cause and no context.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, TypeVar, cast

import av
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

T = TypeVar("T")


def _known_device(name: str) -> str:
    if name and name not in hwdevices_available():
        raise ValueError(f"is not a known device: use one of {', '.join(hwdevices_available())}")
    return name


HardwareDevice = Annotated[str, AfterValidator(_known_device)]


def call_av(address: str, action: Callable[[], T], timeout_s: float = float("inf")) -> T:
    """Call PyAV and translate its exceptions.

    FFmpeg answers an interrupted call with one of many errors, or with the rest of a picture;
    whether ``timeout_s`` has passed is decided by the clock.

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
    except (FFmpegError, OSError) as error:
        problem = SourceError(f"{address}: {error.strerror or type(error).__name__}")
    except (NotImplementedError, RuntimeError, ValueError) as error:  # of HWAccel
        problem = SourceError(f"{address} cannot be opened: {redact(str(error))}")
    else:
        if time.monotonic() - started_s < timeout_s:
            return result
        problem = SourceError("late")
    if time.monotonic() - started_s >= timeout_s:
        problem = SourceError(f"{address} was silent for {timeout_s:g} s")
    raise problem  # outside of the handlers, so that Python adds no context


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
    """

    url: str = field(repr=False)
    address: str
    options: dict[str, str]
    open_timeout_s: float
    read_timeout_s: float
    hwaccel: str = ""
    low_delay: bool = False


class Video:
    """The best video stream of an open container. Used by one thread."""

    def __init__(self, container: InputContainer, stream: VideoStream, opening: Opening) -> None:
        self.address = opening.address
        self.stream = stream
        self._read_timeout_s = opening.read_timeout_s
        self._packets = cast("Generator[Packet[Stream]]", container.demux())

    def read(self) -> Packet[Stream] | None:
        """Read the next packet of any stream; an empty one flushes; None at the end.

        Raises:
            SourceError: Nothing came within the read timeout, or the connection broke.
        """
        return call_av(self.address, lambda: next(self._packets, None), self._read_timeout_s)

    def decode(self, packet: Packet[Stream]) -> list[VideoFrame] | None:
        """The frames that a packet completes; None when it cannot be decoded."""
        if packet.stream_index != self.stream.index:
            return []
        try:
            return cast(list[VideoFrame], packet.decode())
        except FFmpegError:
            return None

    def close(self) -> None:
        """Stop reading."""
        self._packets.close()


@contextlib.contextmanager
def open_video(opening: Opening, resolve: Callable[[str, float], bool]) -> Iterator[Video]:
    """Connect, find the video stream and set up its decoder; close all of it on exit.

    Raises:
        SourceError: There is none, or it does not answer.
    """
    host = parse_host(opening.url)
    if host and not resolve(host, opening.open_timeout_s):
        raise SourceError(f"{opening.address}: the name {host} cannot be resolved")
    shown = opening.address + (f" with hwaccel {opening.hwaccel}" if opening.hwaccel else "")
    container = call_av(shown, lambda: _open(opening), opening.open_timeout_s)
    with contextlib.closing(container):
        stream = cast("VideoStream | None", container.streams.best("video"))
        if stream is None or stream.codec_context is None:
            raise SourceError(f"{opening.address} has no video that can be decoded")
        stream.codec_context.thread_count = 1  # more threads would delay frames
        if opening.low_delay:
            stream.codec_context.flags |= CodecFlags.low_delay
        with contextlib.closing(Video(container, stream, opening)) as video:
            yield video


def _open(opening: Opening) -> InputContainer:
    device = HWAccel(opening.hwaccel, allow_software_fallback=False) if opening.hwaccel else None
    return av.open(
        opening.url,
        options=opening.options,
        timeout=(opening.open_timeout_s, opening.read_timeout_s),
        metadata_errors="replace",
        hwaccel=device,
    )


class NameLookup:
    """Looks up host names in a thread, since the C library cannot be interrupted."""

    def __init__(self) -> None:
        self._pending: threading.Thread | None = None
        self._resolved = False

    def __call__(self, host: str, timeout_s: float) -> bool:
        """Whether the host has an address; False as well when no answer came in time."""
        if self._pending is None or not self._pending.is_alive():
            self._resolved = False
            self._pending = threading.Thread(target=self._look_up, args=(host,), daemon=True)
            self._pending.start()
        self._pending.join(timeout_s)
        return self._resolved and not self._pending.is_alive()

    def _look_up(self, host: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            self._resolved = bool(socket.getaddrinfo(host, None))
