"""An RTSP server that says what no camera should, on the loopback."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

SPS, PPS = base64.b64decode("Z0LAHtkDxWhAAAADAEAAAAwDxYuS"), base64.b64decode("aMuMsg==")
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;"
    f"sprop-parameter-sets={base64.b64encode(SPS).decode()},{base64.b64encode(PPS).decode()}\r\n"
    "a=control:trackID=0\r\n"
)


class Exchange:
    """One request and its connection."""

    def __init__(self, connection: socket.socket, head: str) -> None:
        self.connection = connection
        self.verb, self.url = head.split(" ")[:2]
        self.is_signed = "authorization:" in head.lower()
        numbers = (
            line.split(":")[1].strip()
            for line in head.split("\r\n")
            if line.lower().startswith("cseq")
        )
        self.cseq = next(numbers, "0")

    def answer(
        self, status: str = "200 OK", headers: str = "", body: bytes = b"", length: int = -1
    ) -> None:
        """Send an answer; ``length`` may lie."""
        size = len(body) if length < 0 else length
        head = f"RTSP/1.0 {status}\r\nCSeq: {self.cseq}\r\n{headers}Content-Length: {size}\r\n\r\n"
        self.connection.sendall(head.encode() + body)

    def send_packet(
        self, payload: bytes, seq: int, stamp: int = 90000, *, is_last: bool = False
    ) -> None:
        """Send one interleaved RTP packet; the last one of a picture is marked."""
        kind = 96 | 0x80 * is_last
        packet = struct.pack(">BBHII", 0x80, kind, seq & 0xFFFF, stamp, 7) + payload
        self.connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)

    def proceed(self, sdp: bytes = SDP.encode()) -> None:
        """Answer as a camera of H.264 does, up to PLAY."""
        if self.verb == "DESCRIBE":
            self.answer(headers="Content-Type: application/sdp\r\n", body=sdp)
        elif self.verb == "SETUP":
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            self.answer(headers=f"Transport: {transport}\r\nSession: 1\r\n")
        else:
            self.answer(headers="Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\nSession: 1\r\n")


@contextlib.contextmanager
def hostile_rtsp(respond: Callable[[Exchange], None]) -> Iterator[str]:
    """Serve what ``respond`` answers; the URL of the camera."""
    over = threading.Event()
    connections: set[socket.socket] = set()
    threads: set[threading.Thread] = set()

    def serve(connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError, ValueError), connection:
            while not over.is_set():
                while b"\r\n\r\n" not in buffer:
                    part = connection.recv(65536)
                    if not part:
                        connections.discard(connection)
                        return
                    buffer += part
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                respond(Exchange(connection, head.decode("latin1")))
        connections.discard(connection)

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(10)
                connections.add(connection)
                threads.difference_update([thread for thread in threads if not thread.is_alive()])
                thread = threading.Thread(target=serve, args=(connection,))
                thread.start()
                threads.add(thread)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
        finally:
            over.set()
            accepting.join()
            for connection in list(connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
