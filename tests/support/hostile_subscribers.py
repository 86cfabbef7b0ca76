"""Subscribers that ask for too much: `python -m tests.support.hostile_subscribers KIND PORT S`.

Each is a plain socket that speaks just enough ZMTP 3 to get as far as it wants.
"""

import os
import socket
import sys
import time
from contextlib import suppress

GREETING = b"\xff" + b"\0" * 7 + b"\1\x7f\3\0NULL" + b"\0" * 48
_PROPERTIES = b"\5READY\x0bSocket-Type\0\0\0\3SUB"
READY = b"\4" + bytes([len(_PROPERTIES)]) + _PROPERTIES
PING = b"\4\x07\4PING\0\x0a"


def frame(body):
    short = len(body) < 256
    return (b"\0" + bytes([len(body)]) if short else b"\2" + len(body).to_bytes(8, "big")) + body


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 2)


def join(port, *prefixes):
    """A connection that has finished its handshake and subscribed."""
    peer = connect(port)
    peer.sendall(GREETING)
    received = b""
    while len(received) < 64:
        if not (more := peer.recv(64 - len(received))):
            raise ConnectionError("it was cut")
        received += more
    peer.sendall(READY + b"".join(frame(b"\1" + prefix) for prefix in prefixes))
    return peer


def subscribe_to_much(port, count=20_000, size=400):
    """One peer with millions of bytes of subscriptions."""
    peer = join(port)
    for _ in range(count):
        peer.sendall(frame(b"\1" + os.urandom(size)))
    time.sleep(1)


def subscribe_to_more(port):
    """The same, three times as much."""
    subscribe_to_much(port, 60_000)


def forty_peers(port, count=40, each=100, size=240):
    """Many peers, each with what one may have taken for harmless; all leave at once."""
    peers = []
    for _ in range(count):
        with suppress(OSError):
            peers.append(join(port, *(os.urandom(size) for _ in range(each))))
    time.sleep(2)
    for peer in peers:
        peer.close()
    time.sleep(1)


def peers_at_the_limit(port):
    """Each peer takes nearly all that one peer may."""
    forty_peers(port, 60, 60, 250)


def churn_subscriptions(port):
    """Subscribe and cancel at full speed."""
    peers = [join(port) for _ in range(4)]
    prefix = os.urandom(100)
    while True:
        for peer in peers:
            peer.sendall((frame(b"\1" + prefix) + frame(b"\0" + prefix)) * 50)


def ask_again(port):
    """Ask for the last values of all tracks again and again."""
    peer = join(port)
    while True:
        peer.sendall(frame(b"\1v1/") + frame(b"\0v1/"))
        time.sleep(0.01)


def churn_connections(port):
    """Join and leave at full speed."""
    while True:
        with suppress(OSError):
            join(port, b"v1/").close()


def never_read(port):
    """Subscribe to everything and read nothing."""
    peers = [join(port, b"v1/") for _ in range(60)]
    time.sleep(3600)
    del peers


def half_handshakes(port):
    """Greet and say no more."""
    peers = []
    while True:
        with suppress(OSError):
            peer = connect(port)
            peer.sendall(GREETING)
            peers.append(peer)
        for peer in peers[:-300]:
            peer.close()
        del peers[:-300]


def silence(port):
    """Connect and say nothing."""
    peers = []
    while True:
        with suppress(OSError):
            peers.append(connect(port))
        for peer in peers[:-500]:
            peer.close()
        del peers[:-500]


def garbage(port):
    """Send anything."""
    while True:
        with suppress(OSError), connect(port) as peer:
            peer.sendall(os.urandom(200) if os.urandom(1) < b"\x80" else GREETING + os.urandom(200))


def pings(port):
    """Ping at full speed, and read no answers."""
    peers = [join(port) for _ in range(8)]
    while True:
        for peer in peers:
            peer.sendall(PING * 1000)


def long_frames(port):
    """Announce frames of a tebibyte."""
    while True:
        with suppress(OSError):
            join(port).sendall(b"\2" + (1 << 40).to_bytes(8, "big") + b"x" * 1000)


KINDS = {
    function.__name__: function
    for function in (
        subscribe_to_much, subscribe_to_more, forty_peers, peers_at_the_limit, churn_subscriptions,
        ask_again, churn_connections, never_read, half_handshakes, silence, garbage, pings,
        long_frames,
    )
}  # fmt: skip


def main(kind, port, seconds):
    deadline_s = time.monotonic() + float(seconds)
    while time.monotonic() < deadline_s:
        socket.setdefaulttimeout(max(0.1, deadline_s - time.monotonic()))
        try:
            KINDS[kind](int(port))
        except OSError:  # it was cut off; once more
            time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
