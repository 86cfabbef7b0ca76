"""Live video of real packets: a browser could append it, and its times are the packets'."""

import asyncio
import contextlib
import io
from fractions import Fraction

import av
import pytest

from edge.errors import StorageError
from edge.recording.ring import PacketRing
from edge.types import CodedPacket, StreamFormat
from edge.web.live_muxer import LiveMuxer, name_codecs
from edge.web.live_ring import open_ring
from edge.web.ports import Fragment, StreamStart
from tests.support.videos import encode_packets as encode

X264 = {"g": "10", "bf": "0", "profile": "main"}


def mux(packets):
    muxer = LiveMuxer(packets[0])
    pieces = [piece for packet in packets for piece in muxer.write(packet)]
    muxer.close()
    return pieces


def test_each_packet_is_a_fragment_with_its_times_and_all_but_the_last_have_come():
    packets = encode("libx264", **X264)
    start, *fragments = mux(packets)
    assert isinstance(start, StreamStart)
    assert start.codecs.startswith("avc1.4d")
    assert len(fragments) == len(packets) - 1
    for fragment, packet in zip(fragments, packets, strict=False):
        assert (fragment.key, fragment.captured_s) == (packet.is_key, packet.captured_s)
        assert fragment.captured_s - fragment.media_s == pytest.approx(1000, abs=1e-3)
    assert sum(fragment.key for fragment in fragments) == 3


@pytest.mark.parametrize("first", [0, 10])
def test_what_begins_at_a_key_frame_is_decoded(first):
    start, *fragments = mux(encode("libx264", **X264))
    film = start.header + b"".join(fragment.data for fragment in fragments[first:])
    with av.open(io.BytesIO(film)) as container:
        assert len(list(container.decode(video=0))) == 29 - first


def test_hevc_and_jpeg_are_named_so_that_a_browser_can_say_whether_it_plays_them():
    options = {"x265-params": "keyint=10:log-level=none"}
    start, *_ = mux(encode("libx265", **options))
    assert start.codecs.startswith("hvc1.1.6.L")
    start, *_ = mux(encode("mjpeg"))
    assert start.codecs == "jpeg"
    # the example of the annex: main profile, compatible with main and main 10, tier L, level 3.1
    record = bytes([1, 1, 0x60, 0, 0, 0, 0xB0, 0, 0, 0, 0, 0, 93])
    assert name_codecs(b"hvcC" + record, "hevc") == "hvc1.1.6.L93.B0"


def follow(ring, count, feed):
    """The first pieces of a ring's stream, while ``feed`` puts packets into it."""

    async def run():
        pieces = []
        async with contextlib.aclosing(open_ring(ring)) as stream:
            feeding = asyncio.ensure_future(asyncio.to_thread(feed))
            async for piece in stream:
                pieces.append(piece)
                if len(pieces) == count:
                    break
            await feeding
        return pieces

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_a_ring_is_followed_from_its_last_key_frame_on():
    packets = encode("libx264", **X264)
    ring = PacketRing(5.0)
    for packet in packets[:15]:
        ring.put(packet)
    pieces = follow(ring, 11, lambda: [ring.put(packet) for packet in packets[15:]])
    times = [piece.captured_s for piece in pieces[1:]]
    assert times == pytest.approx([1001 + number / 10 for number in range(10)])
    assert pieces[1].key


def test_a_camera_that_codes_otherwise_after_a_while_begins_anew():
    first, second = encode("libx264", **X264), encode("libx264", size=(640, 360), **X264)
    ring = PacketRing(5.0)
    ring.put(first[0])
    pieces = follow(ring, 40, lambda: [ring.put(p) for p in (*first[1:], *second)])
    starts = [number for number, piece in enumerate(pieces) if isinstance(piece, StreamStart)]
    assert len(starts) == 2
    assert pieces[starts[1] + 1].key


def test_what_no_file_can_contain_ends_with_an_error():
    packet = CodedPacket(StreamFormat("vp8", b"", Fraction(1, 1000)), b"x", 0, 0, True, 1.0, 1.0)
    ring = PacketRing(5.0)
    ring.put(packet)
    with pytest.raises(StorageError, match="vp8"):
        follow(ring, 1, lambda: None)


def test_a_stream_ends_with_its_ring():
    ring = PacketRing(5.0)
    for packet in encode("libx264", **X264):
        ring.put(packet)

    async def run():
        found = []
        async for piece in open_ring(ring):
            found.append(piece)
            if len(found) == 3:
                for queue in list(ring._queues):
                    queue.close()
        return found

    assert all(isinstance(piece, Fragment) for piece in asyncio.run(run())[1:])
