"""An RTSP camera, through PyAV.

FFmpeg returns a picture when the next one begins, so a capture is stamped with the moment its own
first packet arrived: that is when the previous picture came out.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from edge.errors import SourceDeniedError, SourceError
from edge.redaction import show_address
from edge.repeated_warning import RepeatedWarnings
from edge.sources._address import add_login, check_url, remove_login
from edge.sources._av import HardwareDevice, Opening, Video, limit_allocations, open_video
from edge.sources._counts import Counts
from edge.sources._helper_thread import NameLookup
from edge.sources._lag import LagLimit
from edge.sources._live import Decode, KeyFrameWatch, LiveStream
from edge.sources._login import Login, SecretUrl
from edge.sources._rtsp_challenge import ask_for_digest
from edge.types import Capture, Decoding, StreamPacket

log = logging.getLogger(__name__)

_MAX_LOGIN_BYTES = 127  # percent-encoded; FFmpeg cuts off the rest
_PARSED = {"h264", "hevc"}  # codecs whose pictures end where the next one begins


def _is_rtsp(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value(), ("rtsp", "rtsps"))
    return url


class Options(Login):
    """An RTSP camera on the network.

    Attributes:
        url: Address, `rtsp://` or `rtsps://`; may contain user and password, percent-encoded, and
            `${NAME}` for a variable of the environment.
        user: User to log in as, instead of the one in `url`; may contain `${NAME}`.
        password: Password of `user`; may contain `${NAME}`.
        password_file: File that contains the password, or `credential:NAME` for a systemd
            credential; read at every connection.
        transport: `tcp`, or `udp` (less delay on a good network, broken pictures on a bad one).
        open_timeout_s: Timeout for each of name lookup, connection and stream description, in
            seconds. Raise it for cameras that start their stream on demand.
        first_picture_timeout_s: Timeout for the first picture, which is a key frame, in seconds.
        read_timeout_s: Reconnect after this long without a packet or a picture, in seconds.
        max_lag_s: Pass over pictures, up to a key frame, when the stream is later than this by its
            own stamps, in seconds. Raising it loses fewer pictures on a busy machine, and shows
            them later.
        hwaccel: Hardware decoder by FFmpeg's name, such as `cuda` or `vaapi`; empty uses none.
    """

    url: Annotated[SecretUrl, AfterValidator(_is_rtsp)]
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = Field(default=3, gt=0, le=60)
    first_picture_timeout_s: float = Field(default=8, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)
    max_lag_s: float = Field(default=2, ge=0.1, le=60)
    hwaccel: HardwareDevice = ""


class RtspCamera:
    """An RTSP camera on the network.

    Args:
        options: Its options.
        decode: Decodes a packet.

    Attributes:
        codec: What the pictures are coded with, by FFmpeg's name; empty before the first one.
        decoding: How much to decode.
        max_fps: How many captures a second are asked for.
        tap: Takes every packet.
        on_sound: Told why its sound does not reach the tap, or nothing; None leaves sound out.
    """

    every_frame = False
    codec = ""
    decoding = Decoding.ALL
    max_fps = math.inf
    tap: Callable[[StreamPacket], None] | None = None
    on_sound: Callable[[str], None] | None = None

    def __init__(self, options: Options, decode: Decode = Video.decode) -> None:
        self._options, self._decode = options, decode
        self._warnings = RepeatedWarnings(log)
        self._watch = KeyFrameWatch()
        self._lookup = NameLookup()

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return show_address(self._options.url.get_secret_value())

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Connect; iterate captures until ``stop``.

        Raises:
            SourceDeniedError: It refused user or password.
            SourceError: It does not answer, went silent or changed its picture size.
        """
        limit_allocations()
        with contextlib.ExitStack() as stack:
            video = self._open(stack)
            log.debug("%s: connected", self.address)
            yield stack.enter_context(contextlib.closing(self._captures(video, stop)))

    def _open(self, stack: contextlib.ExitStack) -> Video:
        opening = self._opening()
        try:
            return stack.enter_context(open_video(opening, self._lookup))
        except SourceDeniedError as error:
            problem: SourceError = self._explain_denial(opening, error)
        except SourceError as error:
            problem = self._explain_failure(error)
        raise problem

    def _explain_failure(self, error: SourceError) -> SourceError:
        """The error with the remedy of RTSP, where it has one."""
        if "Protocol not supported" in error.problem:
            transport = self._options.transport
            other = "udp" if transport == "tcp" else "tcp"
            return SourceError(
                f'{self.address} does not send over {transport}: set transport = "{other}"'
            )
        if "Invalid data found" in error.problem:  # FFmpeg says so of a missing answer, too
            return SourceError(
                f"{self.address} hung up without an answer, or does not speak RTSP: check address "
                "and port, and how many viewers the camera allows"
            )
        return error

    def _explain_denial(self, opening: Opening, denied: SourceDeniedError) -> SourceDeniedError:
        """The denial with what is known of its cause."""
        url, userinfo = remove_login(opening.url)
        if not userinfo:
            return SourceDeniedError(f"{self.address} asks for a login: set user and password")
        if url.startswith("rtsp://"):
            asked = ask_for_digest(url, opening.open_timeout_s)
            if asked and not asked & {"BASIC", "MD5", "MD5-SESS"}:
                return SourceDeniedError(
                    f"{self.address} asks for a {' or '.join(sorted(asked))} digest, which FFmpeg "
                    "cannot compute: set the camera to MD5"
                )
        if not self._options.user and "%" in userinfo:
            return SourceDeniedError(
                f"{denied.problem} (a % in a password is %25 in an address; the keys user and "
                "password take it as it is)"
            )
        return denied

    def _opening(self) -> Opening:
        options = self._options
        return Opening(
            url=self._url(),
            address=self.address,
            options={
                "rtsp_transport": options.transport,
                "allowed_media_types": "video+audio" if self.on_sound else "video",
                # Probe as little as possible. `nobuffer` is no alternative: it discards what was
                # probed, the key frame, and the next one may be ten seconds away.
                "analyzeduration": "1",
                "probesize": "32",
                # of a socket; PyAV's own are sooner but do not hold while it is closed
                "timeout": str(round(max(options.open_timeout_s, options.read_timeout_s) * 2e6)),
                "reorder_queue_size": "64",
            },
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
            hwaccel=options.hwaccel,
            low_delay=True,
        )

    def _url(self) -> str:
        options = self._options
        url = options.url.get_secret_value()
        if options.user:
            url = add_login(url, options.user, options.read_password())
        if len(remove_login(url)[1]) > _MAX_LOGIN_BYTES:
            raise SourceError(f"{self.address}: user and password are too long for FFmpeg")
        return url

    def _captures(self, video: Video, stop: threading.Event) -> Generator[Capture]:
        self.codec = video.codec
        stream = LiveStream(
            video,
            LagLimit(self._options.max_lag_s),
            self._watch,
            self._warnings,
            delayed=video.codec in _PARSED,
            decode=self._decode,
            put=self.tap,
            on_sound=self.on_sound,
        )
        deadline_s = time.monotonic() + self._options.first_picture_timeout_s
        size_wh, told = None, Counts()
        while not stop.is_set():
            for live in stream.read(self.decoding, self.max_fps):
                picture = video.to_picture(live.frame)
                if size_wh not in (None, picture.size_wh):
                    raise SourceError(
                        f"{self.address}: the picture size changed to {picture.size_wh}"
                    )
                size_wh = picture.size_wh
                counts, told = stream.count() - told, stream.count()
                yield Capture(
                    picture,
                    live.wall_s,
                    live.monotonic_s,
                    None,
                    bool(live.frame.key_frame),
                    counts.damaged,
                    counts.undecoded,
                    counts.late,
                    live.lag_s,
                    counts.passed,
                )
                deadline_s = time.monotonic() + self._options.read_timeout_s
            if stream.is_left_out:
                deadline_s = time.monotonic() + self._options.read_timeout_s
            if time.monotonic() > deadline_s:
                raise SourceError(f"{self.address} sends packets, but no picture can be decoded")


def build(options: Options) -> RtspCamera:
    """Create the source that options describe."""
    return RtspCamera(options)
