"""Each limit cuts off the peer that exceeds it and nobody else."""

import contextlib
import logging
import socket
import time

import pytest

from edge.wire import subscriber_guard
from edge.wire.subscriber_guard import Allowance
from edge.wire.zmtp import FrameReader
from tests.edge.sinks.test_zeromq import drained, message, published, subscribed, until
from tests.support import hostile_subscribers
from tests.support.hostile_subscribers import GREETING, PING, READY, frame


class Counted:
    """What the sink's guard has counted so far."""

    def __init__(self, sink):
        self._sink = sink
        self.cut = {}
        self.dropped = 0
        self.connected = 0

    def __call__(self):
        counts = self._sink.count_subscribers()
        for reason, count in counts.cut.items():
            self.cut[reason] = self.cut.get(reason, 0) + count
        self.dropped += counts.dropped
        self.connected = counts.connected
        return self


def port_of(sink):
    return int(sink.endpoint.rsplit(":", 1)[1])


def is_cut(peer):
    """Whether the node has closed the connection, after what it had sent."""
    peer.settimeout(5)
    try:
        while peer.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def good_and(**options):
    """A sink with a subscriber that must not notice anything, and what was counted."""
    with published(**options) as sink, subscribed(sink, "v1/detections/") as good:
        yield sink, good, Counted(sink)
        sink.send([message(seq=77)])
        assert drained(sink, good, 1), "the good one still hears"


@pytest.fixture
def join():
    """Joins; what is left of it is closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda sink, *prefixes: stack.enter_context(
            hostile_subscribers.join(port_of(sink), *prefixes)
        )


def fill(peer, data):
    with contextlib.suppress(OSError):
        for _ in range(200):
            peer.sendall(data)


def test_too_many_subscriptions_cost_only_the_one_who_made_them(caplog, join):
    with good_and() as (sink, _, counted):
        peer = join(sink, b"v1/")
        fill(peer, b"".join(frame(b"\1v1/%d" % number) for number in range(600)))
        assert is_cut(peer)
        until(sink, lambda: counted().cut == {"subscriptions": 1})
    assert "more than 512 subscriptions" in caplog.text


def test_a_million_bytes_of_subscriptions_never_reach_libzmq(join):
    with good_and() as (sink, _, counted):
        peer = join(sink)
        fill(peer, frame(b"\1" + b"x" * 400) * 100)
        assert is_cut(peer)
        until(sink, lambda: counted().cut == {"subscriptions": 1})
        assert sink.subscribed[b"x" * 400] == 0


def test_what_is_cancelled_is_given_back(join):
    with good_and() as (sink, _, counted):
        peer = join(sink)
        for _ in range(15):
            peer.sendall(b"".join(frame(b"\1%d" % n) + frame(b"\0%d" % n) for n in range(40)))
        peer.sendall(frame(b"\1v1/status/"))
        until(sink, lambda: sink.subscribed[b"v1/status/"])
        assert counted().cut == {}


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", GREETING + READY + frame(b"hello"), GREETING + frame(b"\1v1/")],
    ids=["other protocol", "a message", "subscription before the handshake"],
)
def test_who_speaks_something_else_is_cut_off(sent):
    with (
        good_and() as (sink, _, counted),
        socket.create_connection(("127.0.0.1", port_of(sink))) as peer,
    ):
        peer.sendall(sent)
        assert is_cut(peer)
        until(sink, lambda: counted().cut == {"protocol": 1})


@pytest.mark.parametrize("sent", [b"", GREETING], ids=["silence", "greeting only"])
def test_a_handshake_that_does_not_end_is_ended(sent):
    with (
        good_and(handshake_ms=200) as (sink, _, counted),
        socket.create_connection(("127.0.0.1", port_of(sink))) as peer,
    ):
        peer.sendall(sent)
        assert is_cut(peer)
        until(sink, lambda: counted().cut == {"handshake": 1})


def test_places_are_limited_and_the_one_that_asked_for_most_goes(join):
    with good_and(max_subscribers=3) as (sink, _, counted):
        greedy = join(sink, b"v1/status/", b"x" * 400, b"y" * 400, b"z" * 400)
        until(sink, lambda: counted().connected == 2)
        join(sink, b"v1/status/")
        until(sink, lambda: counted().connected == 3)
        join(sink, b"v1/status/")
        assert is_cut(greedy)
        until(sink, lambda: counted().cut == {"full": 1} and counted().connected == 3)


def test_who_reads_for_a_while_keeps_its_place_and_hears_all(join, monkeypatch):
    monkeypatch.setattr(subscriber_guard, "ESTABLISHED_S", 0.3)
    topics = [f"v1/detections/camera-{n:04d}/with/a/longer/name/" for n in range(200)]
    with good_and(max_subscribers=8) as (sink, _, counted):
        with subscribed(sink, "v1/status/", *topics) as large:
            time.sleep(0.4)
            refused = []
            for _ in range(20):
                refused.append(join(sink, b"v1/heartbeat"))
                sink.idle()
            until(sink, lambda: counted().connected == 8 and counted().cut == {"full": 14})
            for _ in range(20):
                sink.send([message("status")])
            assert len(drained(sink, large, 20)) == 20
        assert sum(map(is_cut, refused[-14:])) == 14


def test_who_has_stopped_to_read_makes_room(join, monkeypatch):
    monkeypatch.setattr(subscriber_guard, "ESTABLISHED_S", 0.3)
    monkeypatch.setattr(subscriber_guard, "STALLED_S", 0.3)
    with good_and(max_subscribers=2) as (sink, good, counted):
        stalled = join(sink, b"v1/detections/")
        until(sink, lambda: counted().connected == 2)
        until(sink, lambda: sink.subscribed[b"v1/detections/"] == 2)
        for seq in range(200):
            sink.send([message(seq=seq, jpeg=b"x" * 100_000)])
            assert drained(sink, good, 1)
        time.sleep(0.5)
        join(sink, b"v1/status/")
        until(sink, lambda: counted().cut == {"full": 1} and counted().connected == 2)
        assert is_cut(stalled)


def test_who_subscribes_to_nothing_takes_no_place(join):
    with good_and(max_subscribers=2) as (sink, _, counted):
        silent = [join(sink) for _ in range(subscriber_guard.MAX_SILENT + 3)]
        until(sink, lambda: counted().cut == {"full": 3})
        assert is_cut(silent[0])
        join(sink, b"v1/status/")
        until(sink, lambda: counted().connected == 2)


def test_what_a_slow_subscriber_loses_is_counted_and_the_rest_is_whole(join):
    with good_and(sndhwm=50) as (sink, good, counted):
        peer = join(sink, b"v1/detections/")
        until(sink, lambda: counted().connected == 2)
        until(sink, lambda: sink.subscribed[b"v1/detections/"] == 2)
        sent, jpeg = 400, b"x" * 50_000
        for seq in range(1, sent + 1):
            sink.send([message(seq=seq, jpeg=jpeg)])
            assert drained(sink, good, 1)
        until(sink, lambda: counted().dropped > 0)
        peer.settimeout(1)
        stream = b""
        with contextlib.suppress(TimeoutError):
            while data := peer.recv(1 << 20):
                stream += data
        assert stream.count(b"v1/detections/door/") == sent - counted().dropped


def test_memory_for_slow_subscribers_is_bounded_in_bytes(monkeypatch, join):
    monkeypatch.setattr(subscriber_guard, "MAX_WAITING_BYTES", 1 << 20)
    with good_and() as (sink, good, counted):
        join(sink, b"v1/detections/")
        until(sink, lambda: sink.subscribed[b"v1/detections/"] == 2)
        for seq in range(1, 60):
            sink.send([message(seq=seq, jpeg=b"x" * 300_000)])
            assert drained(sink, good, 1)
        until(sink, lambda: counted().dropped > 0)
        waiting = [other.waiting_bytes for other in sink._guard._peers.values()]
        assert max(waiting) <= 1 << 20


def test_pings_are_answered_and_a_flood_of_them_is_slowed_down(join):
    with good_and() as (sink, _, counted):
        peer = join(sink, b"v1/status/")
        peer.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            for _ in range(10_000):
                peer.sendall(PING * 500)
        assert b"\4PONG" in peer.recv(65536)
        assert counted().cut == {}


def test_who_pings_and_never_reads_the_answers_is_cut_off(join):
    """What the kernel keeps of them aside: that is megabytes, and hours of pings."""
    (ping,) = FrameReader(512).read(PING)
    with good_and() as (sink, _, counted):
        join(sink, b"v1/status/")
        until(sink, lambda: counted().connected == 2)
        guard, peer = sink._guard, [*sink._guard._peers.values()][-1]
        peer.commands.extend([ping.raw] * subscriber_guard.MAX_COMMANDS)
        with pytest.raises(subscriber_guard.CutError, match="does not read the answers"):
            guard._queue(peer, ping)


def test_the_same_trouble_is_told_once(caplog):
    with good_and() as (sink, _, counted), caplog.at_level(logging.WARNING):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port_of(sink))) as peer:
                peer.sendall(b"nonsense")
                assert is_cut(peer)
        until(sink, lambda: counted().cut == {"protocol": 20})
    assert caplog.text.count("is disconnected") == 1


def test_an_allowance_comes_back_with_time():
    now_s = time.monotonic()
    allowance = Allowance(10, 5)
    allowance.spend(20, now_s)
    assert allowance.is_exhausted(now_s + 1.9)
    assert not allowance.is_exhausted(now_s + 2.5)
