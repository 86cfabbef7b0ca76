"""Cameras that fail in each of the ways in which they fail out there, as servers on loopback."""

import contextlib
import os
import random
import socket
import threading
import time

SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\na=control:track0\r\n"
)


def mute(connection, over):
    """Accept and never answer."""
    over.wait()


def drip(connection, over):
    """A byte of an answer per second."""
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: " + b"x" * 1000:
        connection.sendall(bytes((byte,)))
        if over.wait(1):
            return


def garbage(connection, over):
    """Answer anything, without end."""
    while not over.is_set():
        connection.sendall(os.urandom(1000))
        time.sleep(0.01)


def endless_header(connection, over):
    """An answer whose head never ends."""
    connection.sendall(b"RTSP/1.0 200 OK\r\n")
    while not over.is_set():
        connection.sendall(b"X-Header: " + b"x" * 500 + b"\r\n")
        time.sleep(0.002)


def stall(connection, over):
    """Everything is fine until PLAY; then nothing comes."""
    pending = b""
    while not over.is_set():
        pending += connection.recv(4096)
        while b"\r\n\r\n" in pending:
            request, pending = pending.split(b"\r\n\r\n", 1)
            lines = request.decode(errors="replace").splitlines()
            seq = next((x.split(":")[1].strip() for x in lines if x.lower().startswith("cseq")), 1)
            head = f"RTSP/1.0 200 OK\r\nCSeq: {seq}\r\nSession: 1\r\n".encode()
            method = lines[0].split()[0]
            if method == "DESCRIBE":
                head += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(SDP)
                connection.sendall(head + SDP)
            elif method == "SETUP":
                transport = b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                connection.sendall(head + transport + b"\r\n")
            else:
                connection.sendall(head + b"Public: DESCRIBE, SETUP, PLAY\r\n\r\n")


def flap(connection, over):
    """Hang up after a moment."""
    over.wait(random.uniform(0, 0.5))


ANSWERS = {
    function.__name__: function for function in (mute, drip, garbage, endless_header, stall, flap)
}
FAULTS = (*ANSWERS, "refuse", "no_route", "fifo")


@contextlib.contextmanager
def faulty_camera(fault, folder, login=""):
    """A source table of a camera with this fault; a ``login`` ends in @."""
    if fault == "fifo":
        path = folder / "camera.fifo"
        if not path.exists():
            os.mkfifo(path)
        yield f'{{ kind = "video_file", path = "{path}" }}'
    elif fault == "no_route":
        yield '{ kind = "rtsp", url = "rtsp://203.0.113.1/x" }'
    elif fault == "refuse":
        yield f'{{ kind = "rtsp", url = "rtsp://{login}127.0.0.1:9/x" }}'
    else:
        with _serve(ANSWERS[fault]) as port:
            yield f'{{ kind = "rtsp", url = "rtsp://{login}127.0.0.1:{port}/x" }}'


@contextlib.contextmanager
def _serve(answer):
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.settimeout(0.2)

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            answer(connection, over)

    def accept():
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()
