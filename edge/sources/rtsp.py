"""An RTSP camera, through PyAV.

FFmpeg hands a picture on when the next one begins, so a capture is stamped with the moment its
own first packet arrived: that is when the picture before it came out.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from edge.errors import SourceError
from edge.redaction import redact
from edge.sources._address import add_login
from edge.sources._av import HardwareDevice, NameLookup, Opening, Video, open_video
from edge.sources._picture import picture_of
from edge.types import Capture

log = logging.getLogger(__name__)

_LOGIN_BYTES = 127  # FFmpeg cuts a longer one off, percent-encoded
_PARSED = {"h264", "hevc"}  # codecs whose pictures end where the next one begins


def _is_rtsp(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("rtsp://", "rtsps://")):
        raise ValueError("must begin with rtsp:// or rtsps://")
    return url


class Options(BaseModel):
    """Where the camera is and how to talk to it.

    Attributes:
        url: rtsp:// or rtsps://, may hold user and password.
        user: sent in place of the one in the URL.
        password: its password.
        password_file: a file whose text is the password, read at every connection.
        transport: tcp, or udp (less delay on a good network, broken pictures on a bad one).
        open_timeout_s: longest wait for each of name server, connection and description.
        first_picture_timeout_s: longest wait for the first picture, which is a key frame.
        read_timeout_s: silence, or packets without a picture, for so long is a failure.
        hwaccel: hardware decoder by FFmpeg's name, such as cuda or vaapi; empty for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[SecretStr, AfterValidator(_is_rtsp)]
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = Field(default=3, gt=0, le=60)
    first_picture_timeout_s: float = Field(default=8, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)
    hwaccel: HardwareDevice = ""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.password_file and self.password.get_secret_value():
            raise ValueError("give password or password_file, not both")
        if (self.password_file or self.password.get_secret_value()) and not self.user:
            raise ValueError("a password needs a user")
        return self


class RtspCamera:
    """A camera on the network."""

    every_frame = False

    def __init__(self, options: Options) -> None:
        """Connect nothing yet."""
        self._options = options
        self._lookup = NameLookup()

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return redact(self._options.url.get_secret_value())

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Connect; iterate captures until ``stop``.

        Raises:
            SourceDeniedError: it refused user or password.
            SourceError: it does not answer, went silent or changed its picture size.
        """
        with open_video(self._opening(), self._lookup) as video:
            log.debug("%s: connected", self.address)
            with contextlib.closing(self._captures(video, stop)) as captures:
                yield captures

    def _opening(self) -> Opening:
        options = self._options
        return Opening(
            url=self._url(),
            address=self.address,
            options={
                "rtsp_transport": options.transport,
                "allowed_media_types": "video",
                # Probe for as little as possible. `nobuffer` would not do: it throws away what
                # was probed, the key frame, and the next one may be ten seconds off.
                "analyzeduration": "1",
                "probesize": "32",
                "timeout": str(round(options.read_timeout_s * 2e6)),  # of a socket, when closing
            },
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
            hwaccel=options.hwaccel,
            low_delay=True,
        )

    def _url(self) -> str:
        options = self._options
        url, password = options.url.get_secret_value(), options.password.get_secret_value()
        if options.password_file:
            password = _read_password(options.password_file)
        if options.user:
            url = add_login(url, options.user, password)
        login = url.split("://", 1)[1].rpartition("@")[0]
        if len(login) > _LOGIN_BYTES:
            raise SourceError(f"{self.address}: user and password are too long for FFmpeg")
        return url

    def _captures(self, video: Video, stop: threading.Event) -> Generator[Capture]:
        late = video.stream.codec_context.name in _PARSED
        begun_s = time.time(), time.monotonic()
        deadline_s = begun_s[1] + self._options.first_picture_timeout_s
        size_wh = None
        while not stop.is_set():
            packet = video.read()
            if packet is None or not packet.size:
                raise SourceError(f"{self.address} ended the stream")
            came_s = time.time(), time.monotonic()
            arrived_s, begun_s = (begun_s if late else came_s), came_s
            for frame in video.decode(packet) or ():
                picture = picture_of(frame)
                if size_wh not in (None, picture.size_wh):
                    raise SourceError(f"{self.address}: picture size is now {picture.size_wh}")
                size_wh = picture.size_wh
                yield Capture(picture, *arrived_s)
                deadline_s = time.monotonic() + self._options.read_timeout_s
            if time.monotonic() > deadline_s:
                raise SourceError(f"{self.address} sends packets, but no picture comes out")


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the password file {path}: make it readable") from error


def build(options: Options) -> RtspCamera:
    """The source these options describe."""
    return RtspCamera(options)
