"""The last packets of a stream."""

import random
import threading
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.recording.ring import PacketQueue, PacketRing
from edge.types import CodedPacket, StreamFormat

H264 = StreamFormat("h264", b"", Fraction(1, 1000))
KEY = CodedPacket(H264, b"k" * 1000, 0, 0, True, 0.0, 0.0)


def make_stream(count, gop=10, period_s=0.1, wall_s=1000.0):
    return [
        replace(
            KEY, data=b"%04d" % row * 250, pts=row, is_key=row % gop == 0,
            captured_s=wall_s + row * period_s, monotonic_s=row * period_s,
        )
        for row in range(count)
    ]  # fmt: skip


@given(st.integers(1, 200), st.integers(1, 40), st.floats(0, 8), st.integers(2_000, 80_000))
def test_it_begins_with_the_newest_key_frame_that_is_old_enough(count, gop, keep_s, max_bytes):
    ring, packets = PacketRing(keep_s, max_bytes), make_stream(count, gop)
    for packet in packets:
        ring.put(packet)
    kept = ring.subscribe(0).take()
    assert sum(len(packet.data) for packet in kept) <= max_bytes
    if kept:
        assert kept == packets[-len(kept) :]
        assert kept[0].is_key
        later = [p for p in kept[1:] if p.is_key and p.monotonic_s <= kept[-1].monotonic_s - keep_s]
        assert not later
    else:
        assert (count - 1) % gop * 1000 + 1000 > max_bytes


def test_a_reader_gets_what_was_and_what_comes_without_a_gap():
    ring, packets = PacketRing(2.0), make_stream(100)
    for packet in packets[:55]:
        ring.put(packet)
    queue, newest = ring.subscribe(1003.7), ring.subscribe()
    for packet in packets[55:]:
        ring.put(packet)
    assert queue.take() == packets[30:]
    assert newest.take() == packets[50:]
    ring.unsubscribe(queue)
    ring.put(packets[-1])
    assert queue.take() == []


def test_what_is_asked_for_but_was_dropped_begins_later():
    ring, packets = PacketRing(1.0), make_stream(60)
    for packet in packets:
        ring.put(packet)
    assert ring.subscribe(1000.0).take() == packets[40:]
    assert ring.read(1000.0) == []
    assert ring.read(1004.5) == packets[40:50]


def test_nothing_is_kept_before_the_first_key_frame():
    ring, packets = PacketRing(5.0), make_stream(30)
    for packet in packets[3:10]:
        ring.put(packet)
    queue = ring.subscribe()
    assert queue.take() == []
    for packet in packets[10:13]:
        ring.put(packet)
    assert queue.take() == packets[10:13]


def test_a_slow_reader_goes_on_at_a_key_frame_and_disturbs_nobody():
    ring, packets = PacketRing(1.0), make_stream(94)
    slow, quick, got = ring.subscribe(max_bytes=15_000), ring.subscribe(), []
    for packet in packets:
        ring.put(packet)
        got += quick.take()
    assert got == packets
    assert slow.take() == packets[80:]
    assert slow.lost == 80


@pytest.mark.parametrize("seed", range(5))
def test_threads_lose_nothing(seed):
    rng, packets = random.Random(seed), make_stream(3000)
    ring, got, over = PacketRing(1.0), [], threading.Event()
    queue = ring.subscribe(max_bytes=10**8)

    def read():
        while not over.is_set():
            got.extend(queue.take(rng.random() / 100))
        got.extend(queue.take())

    reader = threading.Thread(target=read)
    reader.start()
    for packet in packets:
        ring.put(packet)
    over.set()
    reader.join()
    assert got == packets


def test_a_closed_queue_wakes_its_reader():
    queue = PacketQueue([], 1000)
    threading.Timer(0.05, queue.close).start()
    assert queue.take(30) == []
