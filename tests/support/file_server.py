"""A file server on the loopback that misbehaves as it is told."""

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.loopback import serve


@dataclass
class FileServer:
    """Serves one file.

    Attributes:
        content: of the file.
        drops: bytes after which the first, second .. answer breaks off; then none does.
        ranges: whether it understands Range.
        length: whether it tells the length.
        status: it answers instead of the file; 0 for the file, 302 sends to ``location``.
        silent: it takes requests and never answers.
        location: where a 302 leads.
        drips: what has no end: `headers`, or the `body` of a 302.
        asked: the Range of each request, or empty.
    """

    content: bytes
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    status: int = 0
    silent: bool = False
    location: str = ""
    drips: str = ""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["FileServer"]:
        """Serve until the end of the block."""
        over = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.headers.get("Range", ""))
                if owner.silent:
                    over.wait(20)
                else:
                    owner.answer(self)
                    if owner.drips and not (owner.drips == "body" and self.path == "/there"):
                        owner.drip(self, over)

        with serve(Handler, over) as address:
            self.url = f"{address}/model.onnx"
            yield self

    def drip(self, request: BaseHTTPRequestHandler, over: threading.Event) -> None:
        """Send a line again and again, until nobody takes it."""
        with contextlib.suppress(OSError):
            while not over.wait(0.02):
                request.wfile.write(b"X-More: 1\r\n")

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        if self.drips == "headers":
            request.send_response(200)
            request.flush_headers()
            return
        if self.drips == "body" and request.path != "/there":
            request.send_response(302)
            request.send_header("Location", "/there")
            request.end_headers()
            return
        if self.status:
            request.send_response(self.status)
            if self.location:
                request.send_header("Location", self.location)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.asked[-1]) if self.ranges else None
        start = int(wanted[1]) if wanted else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        request.send_response(206 if wanted else 200)
        if wanted:
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        if self.length:
            request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        end = start + self.drops.pop(0) if self.drops else len(self.content)
        request.wfile.write(self.content[start:end])
