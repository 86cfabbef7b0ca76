"""An RTSP camera, through PyAV.

FFmpeg returns a picture when the next one begins, so a capture is stamped with the moment its own
first packet arrived: that is when the previous picture came out.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from edge.config import Table
from edge.errors import SourceError
from edge.redaction import redact
from edge.sources._address import add_login
from edge.sources._av import HardwareDevice, NameLookup, Opening, Video, open_video
from edge.sources._picture import to_picture
from edge.types import Capture

log = logging.getLogger(__name__)

_MAX_LOGIN_BYTES = 127  # percent-encoded; FFmpeg cuts off the rest
_PARSED = {"h264", "hevc"}  # codecs whose pictures end where the next one begins


def _is_rtsp(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("rtsp://", "rtsps://")):
        raise ValueError("must begin with rtsp:// or rtsps://")
    return url


class Options(Table):
    """An RTSP camera on the network.

    Attributes:
        url: Address, `rtsp://` or `rtsps://`; may contain user and password.
        user: User to log in as, instead of the one in `url`.
        password: Password of `user`.
        password_file: File that contains the password; read at every connection.
        transport: `tcp`, or `udp` (less delay on a good network, broken pictures on a bad one).
        open_timeout_s: Timeout for each of name lookup, connection and stream description, in
            seconds.
        first_picture_timeout_s: Timeout for the first picture, which is a key frame, in seconds.
        read_timeout_s: Reconnect after this long without a packet or a picture, in seconds.
        hwaccel: Hardware decoder by FFmpeg's name, such as `cuda` or `vaapi`; empty uses none.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

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
    """An RTSP camera on the network."""

    every_frame = False

    def __init__(self, options: Options) -> None:
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
            SourceDeniedError: It refused user or password.
            SourceError: It does not answer, went silent or changed its picture size.
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
                # Probe as little as possible. `nobuffer` is no alternative: it discards what was
                # probed, the key frame, and the next one may be ten seconds away.
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
        if len(login) > _MAX_LOGIN_BYTES:
            raise SourceError(f"{self.address}: user and password are too long for FFmpeg")
        return url

    def _captures(self, video: Video, stop: threading.Event) -> Generator[Capture]:
        delayed = video.stream.codec_context.name in _PARSED
        previous_s = time.time(), time.monotonic()
        deadline_s = previous_s[1] + self._options.first_picture_timeout_s
        size_wh = None
        while not stop.is_set():
            packet = video.read()
            if packet is None or not packet.size:
                raise SourceError(f"{self.address} ended the stream")
            now_s = time.time(), time.monotonic()
            arrived_s, previous_s = (previous_s if delayed else now_s), now_s
            for frame in video.decode(packet) or ():
                picture = to_picture(frame)
                if size_wh not in (None, picture.size_wh):
                    raise SourceError(
                        f"{self.address}: the picture size changed to {picture.size_wh}"
                    )
                size_wh = picture.size_wh
                yield Capture(picture, *arrived_s)
                deadline_s = time.monotonic() + self._options.read_timeout_s
            if time.monotonic() > deadline_s:
                raise SourceError(f"{self.address} sends packets, but no picture can be decoded")


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the password file {path}: make it readable") from error


def build(options: Options) -> RtspCamera:
    """Create the source that options describe."""
    return RtspCamera(options)
