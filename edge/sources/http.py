"""A live camera at an address: MJPEG, MPEG-TS or HLS over HTTP, RTMP, SRT, UDP.

Pictures are stamped when they arrive, the newest one wins, and no end is for good: after it the
camera is asked again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

from pydantic import AfterValidator, Field, SecretStr

from edge.errors import SinglePictureError, SourceError
from edge.redaction import show_address
from edge.repeated_warning import RepeatedWarnings
from edge.sources._address import add_login, check_url
from edge.sources._arrivals import Arrival, iterate_captures
from edge.sources._av import HardwareDevice, Opening, Video, limit_allocations, open_video
from edge.sources._capture_thread import CaptureThread
from edge.sources._counts import Counts
from edge.sources._helper_thread import NameLookup
from edge.sources._http import HttpBody, HttpClient
from edge.sources._jpeg import JpegSplitter
from edge.sources._lag import LagLimit
from edge.sources._live import Decode, KeyFrameWatch, LiveStream
from edge.sources._login import Login, SecretUrl
from edge.sources._sound import NONE as NO_SOUND
from edge.sources._tap import wrap_jpeg
from edge.sources._thinner import Thinner
from edge.types import Capture, Decoding, StreamPacket

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

log = logging.getLogger(__name__)

_HTTP = ("http", "https")
_SCHEMES = (*_HTTP, "rtmp", "rtmps", "srt", "udp", "rtp", "tcp")
_MJPEG = {"multipart/x-mixed-replace", "multipart/mixed", "video/x-motion-jpeg", "video/x-mjpeg",
          "video/mjpeg", "image/mjpeg", "video/x-jpeg"}  # fmt: skip
_TYPES = {"video/mp2t": "mpegts", "video/x-flv": "flv"}
_PLAYLIST_BEGINS = b"#EXTM3U"
_SNIFFED_BYTES = 16
# What FFmpeg keeps of playlists: of each line a record, with an address as long as the playlist's.
_LINE_BYTES = 128
_MAX_PLAYLIST_BYTES, _MAX_PLAYLISTS_BYTES = 4 << 20, 16 << 20  # of one, of all of a stream
# Of each variant FFmpeg keeps more than 10 KB, and it reads what variants list in turn.
_VARIANT = re.compile(rb"#EXT-X-STREAM-INF|#EXT-X-MEDIA:")
_MAX_VARIANTS = 500  # of a stream
# A playlist's pictures come in bursts of seconds. They are played by their stamps, a little faster
# than they say, so that a delay shrinks until the next segment is waited for.
_PLAYLIST_SPEED = 1.05
_MAX_PAUSE_S = 1.0


def _is_live(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value(), _SCHEMES)
    return url


class Options(Login):
    """A live camera at an address that is not RTSP.

    Attributes:
        url: Address: `http(s)://` for MJPEG (multipart or raw), MPEG-TS, FLV and HLS, or `rtmp://`,
            `rtmps://`, `srt://`, `udp://`, `rtp://`, `tcp://`. It may contain user and password,
            percent-encoded, and `${NAME}` for a variable of the environment.
        user: User to log in as (Basic or Digest), instead of the one in `url`; may contain
            `${NAME}`.
        password: Password of `user`; may contain `${NAME}`.
        password_file: File that contains the password, or `credential:NAME` for a systemd
            credential; read at every connection.
        verify_tls: Refuse an `https` camera whose certificate is not trusted.
        open_timeout_s: Timeout for each of name lookup and connection with the first picture, in
            seconds.
        read_timeout_s: Reconnect after this long without a picture, in seconds. For HLS, at least
            two segment lengths.
        max_lag_s: Pass over pictures, up to a key frame, when the stream is later than this by its
            own stamps, in seconds. Raising it loses fewer pictures on a busy machine, and shows
            them later. Without effect on MJPEG and HLS.
        hwaccel: Hardware decoder by FFmpeg's name, such as `cuda` or `vaapi`; empty uses none.
    """

    url: Annotated[SecretUrl, AfterValidator(_is_live)]
    verify_tls: bool = True
    open_timeout_s: float = Field(default=5, gt=0, le=60)
    read_timeout_s: float = Field(default=5, gt=0, le=60)
    max_lag_s: float = Field(default=2, ge=0.1, le=60)
    hwaccel: HardwareDevice = ""


class HttpCamera:
    """A live camera at an address.

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
        self._thread: CaptureThread[Arrival] | None = None
        self._playlist: _Playlist | None = None

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return show_address(self._options.url.get_secret_value())

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Connect; iterate captures until ``stop``, the newest one each time.

        Raises:
            SourceDeniedError: It refused user or password.
            SourceError: It does not answer, ended, went silent or changed its picture size.
        """
        limit_allocations()
        if self._thread is not None and self._thread.is_alive():
            raise SourceError(f"{self.address}: the previous connection has not ended yet")
        options = self._options
        self._playlist = None
        self._thread = self._create_thread()
        timeouts_s = options.open_timeout_s, options.read_timeout_s
        with (
            self._thread.running() as thread,
            contextlib.closing(
                iterate_captures(thread, self.address, timeouts_s, stop)
            ) as captures,
        ):
            yield captures

    def _create_thread(self) -> CaptureThread[Arrival]:
        options = self._options
        url, user, password = options.url.get_secret_value(), options.user, options.read_password()
        if url.lower().startswith(_HTTP):
            timeouts_s = options.open_timeout_s, options.read_timeout_s
            login = (user, password)
            client = HttpClient(self.address, url, login, timeouts_s, options.verify_tls)
            return CaptureThread(
                self.address,
                lambda store, closing: self._receive(client, store, closing),
                client.interrupt,
                lambda: self._playlist.failure if self._playlist else None,
            )
        opening = self._describe(add_login(url, user, password) if user else url)
        return CaptureThread(
            self.address, lambda store, closing: self._play(opening, store, closing)
        )

    # --- in the thread --------------------------------------------------------------------------

    def _receive(
        self, client: HttpClient, store: Callable[[Arrival], None], closing: threading.Event
    ) -> None:
        """Request the address and read whatever it sends."""
        with contextlib.closing(client), contextlib.closing(client.open(client.url)) as body:
            begins = body.peek(_SNIFFED_BYTES)
            if body.content_type in _MJPEG or begins.startswith((b"--", b"\xff\xd8\xff")):
                if body.content_type == "image/jpeg":
                    raise SinglePictureError(
                        f'{self.address} is one picture: use kind = "snapshot"'
                    )
                self.codec = "mjpeg"
                self._split_pictures(JpegSplitter(body.read, self.address), store, closing)
                return
            if body.content_type.startswith(("text/html", "image/")):
                raise SourceError(
                    f"{self.address} answers with {body.content_type}, not with video: check url"
                )
            opening = self._describe(client.url)
            if begins.startswith(_PLAYLIST_BEGINS):
                playlist = self._playlist = _Playlist(client, self.address)
                file = playlist.read(body, client.url)
                opening = replace(opening, file=file, format="hls", io_open=playlist.open)
                self._play(opening, playlist.pass_on(store), closing)
                return
            file, kind = _as_file(_BodyFile(body, client.url)), _TYPES.get(body.content_type)
            self._play(replace(opening, file=file, format=kind), store, closing)

    def _describe(self, url: str) -> Opening:
        options = self._options
        return Opening(
            url=url,
            address=self.address,
            options={
                "analyzeduration": "300000",
                "probesize": "1000000",
                "live_start_index": "-1",
                "http_persistent": "0",
                "protocol_whitelist": "rtmp,rtmps,rtmpt,srt,udp,rtp,tcp,tls,crypto,data",
            },
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
            hwaccel=options.hwaccel,
            low_delay=True,
        )

    def _play(
        self, opening: Opening, store: Callable[[Arrival], None], closing: threading.Event
    ) -> None:
        """Read a stream with FFmpeg."""
        with open_video(opening, self._lookup) as video:
            self.codec = video.codec
            pacing = _PlaylistPacing() if video.format == "hls" else None
            limit = None if pacing else LagLimit(self._options.max_lag_s)  # segments come in bursts
            stream = LiveStream(
                video,
                limit,
                self._watch,
                self._warnings,
                decode=self._decode,
                put=self.tap,
                on_sound=self.on_sound,
            )
            while not closing.is_set():
                # a playlist is read in bursts, which `pacing` spreads: each picture waits its turn
                max_fps = math.inf if pacing else self.max_fps
                for live in stream.read(self.decoding, max_fps):
                    at_s = live.wall_s, live.monotonic_s
                    if pacing:
                        pacing.wait(live.frame, closing)
                        at_s = time.time(), time.monotonic()
                    key_frame = bool(live.frame.key_frame)
                    picture = video.to_picture(live.frame)
                    store(Arrival(picture, *at_s, key_frame, stream.count(), live.lag_s))
                if stream.is_left_out and self._thread:
                    self._thread.excuse()

    def _split_pictures(
        self, splitter: JpegSplitter, store: Callable[[Arrival], None], closing: threading.Event
    ) -> None:
        """Store each JPEG of a stream as it comes; its reader never waits for a decoder."""
        if self.on_sound:
            self.on_sound(NO_SOUND)
        thinner = Thinner()
        while not closing.is_set() and (jpeg := splitter.next()) is not None:
            if self.tap:
                self.tap(wrap_jpeg(jpeg, *splitter.began_s))
            is_asked = self.decoding is not Decoding.NONE
            if is_asked and thinner.is_due(splitter.began_s[1], self.max_fps):
                counts = Counts(passed=thinner.passed)
                store(Arrival(jpeg, *splitter.began_s, counts=counts))
            elif self._thread:
                self._thread.excuse()


class _PlaylistPacing:
    """Waits until a picture of a playlist is due; a stream that is waited for sets the pace."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._last_s: float | None = None

    def wait(self, frame: VideoFrame, closing: threading.Event) -> None:
        """Wait for a picture."""
        stamp_s, now_s = frame.time, time.monotonic()
        step_s = 0.0
        if stamp_s is not None and self._last_s is not None:
            step_s = min(max(stamp_s - self._last_s, 0.0), _MAX_PAUSE_S) / _PLAYLIST_SPEED
        self._last_s = stamp_s
        self._due_s = max(self._due_s + step_s, now_s)
        if self._due_s > now_s:
            closing.wait(self._due_s - now_s)


class _BodyFile:
    """A body as the file object that PyAV reads."""

    def __init__(self, body: HttpBody, name: str) -> None:
        self.name = name
        self._body = body

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        return self._body.read(size)

    def close(self) -> None:
        """Close the connection."""
        self._body.close()


class _Playlist:
    """What a playlist leads to: further playlists, which are bounded, and segments.

    PyAV tells one exception of a file object and prints any other, so none is raised: a file that
    fails ends, the next one is tried, and the failure is told where no picture comes after it.

    Attributes:
        failure: Why a file since the last picture failed.
    """

    def __init__(self, client: HttpClient, address: str) -> None:
        self._client = client
        self._address = address
        self._kept_bytes: dict[str, int] = {}  # of each playlist and its name, as read last
        self._all_bytes = 0
        self._variants = 0
        self._tail = b""
        self.failure: SourceError | None = None
        self._is_refused = False

    def open(self, url: str, *_: object) -> BinaryIO:
        """Open what a playlist names, for PyAV."""
        if not self._is_refused:
            try:
                return self.read(self._client.open(url), url)
            except SourceError as error:
                self.failure = error
        return BytesIO()

    def read(self, body: HttpBody, url: str) -> BinaryIO:
        """A body as a file of this stream.

        Raises:
            SourceError: It does not begin.
        """
        if body.peek(_SNIFFED_BYTES).startswith(_PLAYLIST_BEGINS):
            self._keep(url, len(url) + _LINE_BYTES - self._kept_bytes.get(url, 0))
        return _as_file(_PlaylistFile(body, url, self))

    def take(self, part: bytes, url: str) -> bytes:
        """What is read of a playlist or a segment; nothing of what is too much."""
        if url in self._kept_bytes and not self._is_refused:
            self._keep(url, len(part) + part.count(b"\n") * (len(url) + _LINE_BYTES))
            text = self._tail + part
            ends = [match.end() for match in _VARIANT.finditer(text)]
            self._variants += len(ends)
            self._tail = text[max(*ends[-1:], len(text) - _SNIFFED_BYTES, 0) :]  # half a tag
            if (
                self._kept_bytes[url] > _MAX_PLAYLIST_BYTES
                or self._all_bytes > _MAX_PLAYLISTS_BYTES
                or self._variants > _MAX_VARIANTS
            ):
                self._is_refused = True
                self.failure = SourceError(
                    f"{self._address} sends playlists that are too long: ask for few hours of one "
                    "variant"
                )
        return b"" if self._is_refused else part

    def _keep(self, url: str, more: int) -> None:
        self._kept_bytes[url] = self._kept_bytes.get(url, 0) + more
        self._all_bytes += more

    def pass_on(self, store: Callable[[Arrival], None]) -> Callable[[Arrival], None]:
        """Store pictures; where one comes, what failed before does not matter."""

        def store_and_forget(arrival: Arrival) -> None:
            if not self._is_refused:
                self.failure = None
            store(arrival)

        return store_and_forget


class _PlaylistFile(_BodyFile):
    """A playlist, or a segment of one."""

    def __init__(self, body: HttpBody, name: str, playlist: _Playlist) -> None:
        super().__init__(body, name)
        self._playlist = playlist

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end, and where it fails."""
        try:
            return self._playlist.take(super().read(size), self.name)
        except SourceError as error:
            self._playlist.failure = error
            return b""


def _as_file(file: _BodyFile) -> BinaryIO:
    return cast(BinaryIO, file)


def build(options: Options) -> HttpCamera:
    """Create the source that options describe."""
    return HttpCamera(options)
