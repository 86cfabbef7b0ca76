"""A camera that gives single pictures: a JPEG address, asked at a steady pace."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from edge.errors import SourceError
from edge.redaction import show_address
from edge.sources._address import check_url
from edge.sources._arrivals import Arrival, iterate_captures
from edge.sources._av import limit_allocations
from edge.sources._capture_thread import CaptureThread
from edge.sources._http import HttpClient
from edge.sources._jpeg import MAX_JPEG_BYTES
from edge.sources._login import Login, SecretUrl
from edge.sources._tap import wrap_jpeg
from edge.types import Capture, CodedPacket

MAX_FPS = 60.0
_DEFAULT_FPS = 1.0
_ON_TIME_S = 0.05  # a request that is later than this moves the grid of times


def _is_http(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value(), ("http", "https"))
    return url


class Options(Login):
    """A camera's JPEG address.

    Attributes:
        url: Address of one JPEG picture, `http://` or `https://`; it may contain user and password,
            percent-encoded, and `${NAME}` for a variable of the environment.
        user: User to log in as (Basic or Digest), instead of the one in `url`; may contain
            `${NAME}`.
        password: Password of `user`; may contain `${NAME}`.
        password_file: File that contains the password, or `credential:NAME` for a systemd
            credential; read at every connection.
        fps: Requests per second; left out, the camera's own `fps`, at most 60.
        verify_tls: Refuse an `https` camera whose certificate is not trusted.
        open_timeout_s: Timeout for connection and first picture, in seconds.
        read_timeout_s: Timeout for any other picture, in seconds, beyond the time between two.
    """

    paced_by_camera: ClassVar[float] = MAX_FPS  # fps is the camera's unless it is given, up to this

    url: Annotated[SecretUrl, AfterValidator(_is_http)]
    fps: float | None = Field(default=None, gt=0, le=MAX_FPS)
    verify_tls: bool = True
    open_timeout_s: float = Field(default=5, gt=0, le=60)
    read_timeout_s: float = Field(default=5, gt=0, le=60)


class SnapshotCamera:
    """A camera that is asked for single pictures, on one connection that is kept alive.

    Attributes:
        tap: Takes every packet.
    """

    every_frame = False
    codec = "mjpeg"  # by FFmpeg's name
    tap: Callable[[CodedPacket], None] | None = None

    def __init__(self, options: Options) -> None:
        self._options = options
        self._period_s = 1 / (options.fps or _DEFAULT_FPS)
        self._thread: CaptureThread[Arrival] | None = None

    @property
    def address(self) -> str:
        """The URL without secrets."""
        return show_address(self._options.url.get_secret_value())

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Connect; iterate captures until ``stop``.

        Raises:
            SourceDeniedError: It refused user or password.
            SourceError: It does not answer, or not with a JPEG picture.
        """
        limit_allocations()
        if self._thread is not None and self._thread.is_alive():
            raise SourceError(f"{self.address}: the previous connection has not ended yet")
        options, url = self._options, self._options.url.get_secret_value()
        login = options.user, options.read_password()
        timeouts_s = options.open_timeout_s, options.read_timeout_s
        client = HttpClient(self.address, url, login, timeouts_s, options.verify_tls)
        self._thread = CaptureThread(
            self.address,
            lambda store, closing: self._ask(client, store, closing),
            client.interrupt,
        )
        timeouts_s = options.open_timeout_s, options.read_timeout_s + self._period_s
        with (
            self._thread.running() as thread,
            contextlib.closing(
                iterate_captures(thread, self.address, timeouts_s, stop)
            ) as captures,
        ):
            yield captures

    def _ask(
        self, client: HttpClient, store: Callable[[Arrival], None], closing: threading.Event
    ) -> None:
        """Ask for pictures; each is stamped with the moment it was asked for."""
        due_s = time.monotonic()
        with client.connect(client.url) as connection:
            while not closing.wait(max(due_s - time.monotonic(), 0)):
                now_s = time.monotonic()
                asked_s = due_s if now_s - due_s < _ON_TIME_S else now_s
                wall_s = time.time() - (now_s - asked_s)
                jpeg = connection.get(client.url).read_all(MAX_JPEG_BYTES)
                if not jpeg.startswith(b"\xff\xd8"):
                    raise SourceError(f"{self.address} does not answer with a JPEG: check url")
                if self.tap:
                    self.tap(wrap_jpeg(jpeg, wall_s, asked_s))
                store(Arrival(jpeg, wall_s, asked_s))
                due_s = max(asked_s + self._period_s, time.monotonic() - _ON_TIME_S)


def build(options: Options) -> SnapshotCamera:
    """Create the source that options describe."""
    return SnapshotCamera(options)
