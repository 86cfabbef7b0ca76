"""An HTTP camera on the loopback: MJPEG, pictures and files, with a login, that ends in many ways.

    with http_camera(stream, user="u", password="p") as camera:
        open(camera.url + "/live")
        camera.requests      # what was asked, over how many connections

``stream`` is a function that gets a `Reply` and writes what it likes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np

from tests.support.loopback import serve

REALM = "cameras"


def jpeg(value: int = 0, size_wh: tuple[int, int] = (160, 120), noise: int = 20) -> bytes:
    """A noisy grey picture; ``value`` is its brightness."""
    rng = np.random.default_rng()
    image = np.full((size_wh[1], size_wh[0], 3), value, np.int16)
    image += rng.integers(-noise, noise + 1, image.shape, np.int16)
    return cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes()


@dataclass
class Reply:
    """One answer."""

    handler: BaseHTTPRequestHandler
    over: threading.Event
    chunked: bool = False

    @property
    def path(self) -> str:
        return self.handler.path

    def begin(self, content_type: str, *, length: int | None = None, chunked: bool = False) -> None:
        """Send the head."""
        self.chunked = chunked
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", content_type)
        if length is not None:
            self.handler.send_header("Content-Length", str(length))
        elif chunked:
            self.handler.send_header("Transfer-Encoding", "chunked")
        else:
            self.handler.send_header("Connection", "close")
            self.handler.close_connection = True
        self.handler.end_headers()

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end(self) -> None:
        """End a chunked body cleanly."""
        if self.chunked:
            self.handler.wfile.write(b"0\r\n\r\n")

    def part(self, picture: bytes) -> None:
        """One part of a multipart stream."""
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
        self.write(head + picture + b"\r\n")


@dataclass
class HttpCamera:
    """A server whose answers a function writes.

    Attributes:
        scheme: The login it asks for: MD5, SHA-256, Basic, or nothing.
        requests: Path of each request that was let in.
        connections: Number of connections so far.
    """

    stream: Callable[[Reply], None]
    user: str = ""
    password: str = ""
    scheme: str = ""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    denied: int = 0
    connections: int = 0
    _nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    @contextlib.contextmanager
    def running(self) -> Iterator[HttpCamera]:
        """Serve until the end of the block."""
        over, owner = threading.Event(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_GET(self) -> None:
                if not owner.lets_in(self.headers.get("Authorization", "")):
                    owner.denied += 1
                    self.send_response(401)
                    if owner.scheme:
                        self.send_header("WWW-Authenticate", owner.challenge())
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                owner.requests.append(self.path)
                with contextlib.suppress(OSError):
                    owner.stream(Reply(self, over))

        with serve(Handler, over, waits=False) as address:
            self.url = address
            yield self

    def challenge(self) -> str:
        """The challenge of its scheme."""
        if self.scheme == "Basic":
            return f'Basic realm="{REALM}"'
        return f'Digest realm="{REALM}", nonce="{self._nonce}", algorithm={self.scheme}, qop="auth"'

    def lets_in(self, header: str) -> bool:
        """Whether an Authorization header is right, computed as RFC 7616 and 7617 say."""
        if not self.scheme:
            return not self.user
        if self.scheme == "Basic":
            import base64

            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return header == f"Basic {login}"
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', header))
        if "response" not in said:
            return False

        def h(text: str) -> str:
            return hashlib.new(self.scheme.replace("-", "").lower(), text.encode()).hexdigest()

        ha1, ha2 = h(f"{self.user}:{REALM}:{self.password}"), h(f"GET:{said['uri']}")
        parts = (ha1, self._nonce, said["nc"], said["cnonce"], said["qop"], ha2)
        return said["response"] == h(":".join(parts))


@contextlib.contextmanager
def http_camera(
    stream: Callable[[Reply], None], user: str = "", password: str = "", scheme: str = ""
) -> Iterator[HttpCamera]:
    """Serve what ``stream`` writes."""
    with HttpCamera(stream, user, password, scheme).running() as camera:
        yield camera


def mjpeg(
    seconds: float = 60, fps: float = 25, *, chunked: bool = False, raw: bool = False
) -> Callable[[Reply], None]:
    """Pictures that grow brighter with each one, for a while; then the end of the stream."""

    def stream(reply: Reply) -> None:
        kind = "video/x-motion-jpeg" if raw else "multipart/x-mixed-replace; boundary=frame"
        reply.begin(kind, chunked=chunked)
        ends_s, count = time.monotonic() + seconds, 0
        while time.monotonic() < ends_s and not reply.over.wait(1 / fps):
            picture = jpeg(20 + count % 200, noise=3)
            reply.write(picture) if raw else reply.part(picture)
            count += 1
        reply.end()

    return stream


def snapshot(reply: Reply) -> None:
    """One picture."""
    picture = jpeg(100)
    reply.begin("image/jpeg", length=len(picture))
    reply.write(picture)
