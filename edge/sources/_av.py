"""A video opened with PyAV: what `rtsp` and `video_file` have in common.

PyAV's exceptions hold the URL with its password. They are translated at one place, `guarded`,
whose errors know no cause and no context.
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
        raise ValueError(f"unknown device, use one of {', '.join(hwdevices_available())}")
    return name


HardwareDevice = Annotated[str, AfterValidator(_known_device)]


def guarded(address: str, action: Callable[[], T], limit_s: float = float("inf")) -> T:
    """Do something with PyAV; translate what it raises.

    FFmpeg answers an interrupted call with one of many errors, or with the rest of a picture:
    only the clock tells that ``limit_s`` has passed.

    Raises:
        SourceDeniedError: the camera refused user or password.
        SourceError: anything else went wrong.
    """
    begun_s = time.monotonic()
    problem: SourceError
    try:
        result = action()
    except (HTTPUnauthorizedError, HTTPForbiddenError):
        problem = SourceDeniedError(f"{address} refused us: check user and password")
    except (FFmpegError, OSError) as error:
        problem = SourceError(f"{address}: {error.strerror or type(error).__name__}")
    except (NotImplementedError, RuntimeError, ValueError) as error:  # of HWAccel
        problem = SourceError(f"{address} cannot be opened: {redact(str(error))}")
    else:
        if time.monotonic() - begun_s < limit_s:
            return result
        problem = SourceError("late")
    if time.monotonic() - begun_s >= limit_s:
        problem = SourceError(f"{address} was silent for {limit_s:g} s")
    raise problem  # out here, where Python adds no context


@dataclass(frozen=True, slots=True)
class Opening:
    """What to open and how.

    Attributes:
        url: what PyAV opens, possibly with a password.
        address: the same, without secrets.
        options: of the demuxer.
        open_timeout_s: longest wait for each of: name server, connection, description.
        read_timeout_s: longest wait for a packet.
        hwaccel: a hardware device by its FFmpeg name, or empty.
        low_delay: ask the decoder to keep no pictures back.
    """

    url: str = field(repr=False)
    address: str
    options: dict[str, str]
    open_timeout_s: float
    read_timeout_s: float
    hwaccel: str = ""
    low_delay: bool = False


class Video:
    """The best video stream of an open container. Driven by one thread."""

    def __init__(self, container: InputContainer, stream: VideoStream, opening: Opening) -> None:
        self.address = opening.address
        self.stream = stream
        self._read_timeout_s = opening.read_timeout_s
        self._packets = cast("Generator[Packet[Stream]]", container.demux())

    def read(self) -> Packet[Stream] | None:
        """The next packet, of any stream; an empty one flushes; None at the end.

        Raises:
            SourceError: nothing came within the read time-out, or the connection broke.
        """
        return guarded(self.address, lambda: next(self._packets, None), self._read_timeout_s)

    def decode(self, packet: Packet[Stream]) -> list[VideoFrame] | None:
        """The frames a packet completes; None when it is garbage."""
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
    """Connect, find the video, set up its decoder; close all of it on exit.

    Raises:
        SourceError: there is none, or it does not answer.
    """
    host = parse_host(opening.url)
    if host and not resolve(host, opening.open_timeout_s):
        raise SourceError(f"{opening.address}: the name {host} cannot be resolved")
    shown = opening.address + (f" with hwaccel {opening.hwaccel}" if opening.hwaccel else "")
    container = guarded(shown, lambda: _open(opening), opening.open_timeout_s)
    with contextlib.closing(container):
        stream = cast("VideoStream | None", container.streams.best("video"))
        if stream is None or stream.codec_context is None:
            raise SourceError(f"{opening.address} has no video that can be decoded")
        stream.codec_context.thread_count = 1  # threads belong to cameras, and delay frames
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
    """Asks the system for a host's address, in a thread: the C library cannot be interrupted."""

    def __init__(self) -> None:
        self._pending: threading.Thread | None = None
        self._found = False

    def __call__(self, host: str, timeout_s: float) -> bool:
        """Whether the host has an address; false as well when no answer came in time."""
        if self._pending is None or not self._pending.is_alive():
            self._found = False
            self._pending = threading.Thread(target=self._ask, args=(host,), daemon=True)
            self._pending.start()
        self._pending.join(timeout_s)
        return self._found and not self._pending.is_alive()

    def _ask(self, host: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            self._found = bool(socket.getaddrinfo(host, None))
