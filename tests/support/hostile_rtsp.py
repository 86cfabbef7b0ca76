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
        self._cseq = next(
            line.split(":")[1].strip()
            for line in head.split("\r\n")
            if line.lower().startswith("cseq")
        )

    def answer(
        self, status: str = "200 OK", headers: str = "", body: bytes = b"", length: int = -1
    ) -> None:
        """Send an answer; ``length`` may lie."""
        size = len(body) if length < 0 else length
        head = f"RTSP/1.0 {status}\r\nCSeq: {self._cseq}\r\n{headers}Content-Length: {size}\r\n\r\n"
        self.connection.sendall(head.encode() + body)

    def send_packet(self, payload: bytes, seq: int) -> None:
        """Send one interleaved RTP packet."""
        packet = struct.pack(">BBHII", 0x80, 96, seq & 0xFFFF, 90000, 7) + payload
        self.connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)

    def proceed(self) -> None:
        """Answer as a camera of H.264 does, up to PLAY."""
        if self.verb == "DESCRIBE":
            self.answer(headers="Content-Type: application/sdp\r\n", body=SDP.encode())
        elif self.verb == "SETUP":
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            self.answer(headers=f"Transport: {transport}\r\nSession: 1\r\n")
        else:
            self.answer(headers="Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\nSession: 1\r\n")


@contextlib.contextmanager
def hostile_rtsp(respond: Callable[[Exchange], None]) -> Iterator[str]:
    """Serve what ``respond`` answers; the URL of the camera."""
    over = threading.Event()
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError, ValueError), connection:
            while not over.is_set():
                while b"\r\n\r\n" not in buffer:
                    part = connection.recv(65536)
                    if not part:
                        return
                    buffer += part
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                respond(Exchange(connection, head.decode("latin1")))

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(10)
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
        finally:
            over.set()
            accepting.join()
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
