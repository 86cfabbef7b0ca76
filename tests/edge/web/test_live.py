"""Live video over a real server: whoever watches costs one stream, begins at a key frame, and
waits for nobody."""

import asyncio
import contextlib
import http.client
import json
import time
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from edge.errors import SourceError
from edge.web.live import HEAD, INITIALIZATION, KEY
from edge.web.live_hub import MAX_WAITING_BYTES, LiveHub
from edge.web.ports import Fragment, StreamStart
from tests.support.web_node import make_latest, make_node, make_sight, serving

START = StreamStart("avc1.4d401f", b"ftyp-moov")


class FakeStream:
    """A camera's stream: a key frame in five fragments, each after a moment."""

    def __init__(self, size=100, interval_s=0.01, count=10_000):
        self.opened = 0
        self.open_now = 0
        self.size, self.interval_s, self.count = size, interval_s, count

    async def open(self, camera):
        self.opened += 1
        self.open_now += 1
        try:
            yield START
            for number in range(self.count):
                data = number.to_bytes(4, "big") + bytes(self.size)
                yield Fragment(data, number % 5 == 0, 1000 + number / 10, number / 10)
                await asyncio.sleep(self.interval_s)
        finally:
            self.open_now -= 1


def watch(served, camera="door", **options):
    address = f"ws://127.0.0.1:{served.port}/api/v1/cameras/{camera}/live"
    return connect(address, **({"max_queue": None} | options))  # it takes what it is sent


def read_number(message):
    return int.from_bytes(message[HEAD.size : HEAD.size + 4], "big")


def read_to_the_end(socket):
    """The code with which the server closes."""
    try:
        while True:
            socket.recv(timeout=5)
    except ConnectionClosed as closed:
        return closed.rcvd.code


def test_a_viewer_gets_the_codecs_the_header_and_fragments_from_a_key_frame_on():
    stream = FakeStream()
    with serving(make_node(open_live=stream.open)) as served, watch(served) as socket:
        start = json.loads(socket.recv(timeout=5))
        assert start == {"mime": 'video/mp4; codecs="avc1.4d401f"', "codecs": "avc1.4d401f"}
        header = socket.recv(timeout=5)
        assert HEAD.unpack(header[: HEAD.size])[2] == INITIALIZATION
        assert header[HEAD.size :] == START.header
        first = socket.recv(timeout=5)
        captured_s, media_s, flags = HEAD.unpack(first[: HEAD.size])
        assert flags == KEY
        assert captured_s - media_s == pytest.approx(1000)
        numbers = [read_number(first)] + [read_number(socket.recv(timeout=5)) for _ in range(20)]
        assert numbers == list(range(numbers[0], numbers[0] + 21))


def test_fifty_viewers_cost_one_stream_and_the_last_one_ends_it():
    stream = FakeStream()
    node = make_node(open_live=stream.open)
    with serving(node, max_viewers=200) as served:  # all of them come from one address
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(watch(served)) for _ in range(50)]
            for socket in sockets:
                socket.recv(timeout=10)
                socket.recv(timeout=10)
                assert HEAD.unpack(socket.recv(timeout=10)[: HEAD.size])[2] == KEY
            assert stream.opened == 1
        deadline_s = time.monotonic() + 5
        while stream.open_now:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        with watch(served) as socket:
            socket.recv(timeout=5)
        assert stream.opened == 2


def test_a_viewer_who_reads_nothing_goes_on_at_a_key_frame_and_delays_nobody():
    stream = FakeStream(size=200_000, interval_s=0.005)
    with serving(make_node(open_live=stream.open)) as served, watch(served, max_queue=2) as slow:
        for _ in range(3):
            slow.recv(timeout=5)
        with watch(served) as quick:
            quick.recv(timeout=5)
            quick.recv(timeout=5)
            numbers = [read_number(quick.recv(timeout=5)) for _ in range(150)]
        assert numbers == list(range(numbers[0], numbers[0] + 150))
        last, jumps = 0, []
        for _ in range(200):
            message = slow.recv(timeout=5)
            if read_number(message) != last + 1 and last:
                jumps.append(HEAD.unpack(message[: HEAD.size])[2])
            last = read_number(message)
            if last > numbers[-1]:
                break
        assert jumps
        assert set(jumps) == {KEY}


def test_the_page_is_told_when_a_stream_ends_or_cannot_be_opened():
    async def broken(camera):
        raise SourceError("nobody answers at rtsp://user:secret@10.0.0.1/")
        yield START

    for stream in (FakeStream(count=3).open, broken):
        with serving(make_node(open_live=stream)) as served, watch(served) as socket:
            assert read_to_the_end(socket) == 1001


@pytest.mark.parametrize(
    ("options", "camera", "headers", "status"),
    [
        ({}, "nobody", {}, 404),
        ({"open_live": None}, "door", {}, 404),
        ({}, "door", {"Origin": "http://evil.example"}, 403),
        ({}, "door", {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, "door", {"X-Forwarded-For": "203.0.113.9"}, 401),
    ],
)
def test_who_may_not_watch_gets_a_problem(options, camera, headers, status):
    node = make_node(**({"open_live": FakeStream().open} | options))
    with serving(node) as served, pytest.raises(InvalidStatus) as refused:
        watch(served, camera, additional_headers=headers)
    assert refused.value.response.status_code == status
    problem = json.loads(refused.value.response.body)
    assert problem["status"] == status


def test_a_hub_keeps_little_for_who_does_not_take_it():
    async def run():
        stream = FakeStream(size=500_000, interval_s=0, count=200)
        hub = LiveHub(stream.open)
        async with contextlib.aclosing(hub.watch("door")) as pieces:
            assert await anext(pieces) == START
            await asyncio.sleep(0.2)
            return [piece async for piece in pieces]

    rest = asyncio.run(run())
    assert sum(len(piece.data) for piece in rest) <= MAX_WAITING_BYTES + 600_000
    assert rest[0].key


def test_pictures_come_as_jpeg_where_the_stream_cannot_be_shown():
    sequence = iter(range(1, 1000))
    node = make_node(get_latest=lambda camera: make_latest(camera, next(sequence)))
    with serving(node) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/api/v1/cameras/door/live.mjpeg?height=90&boxes=1")
        answer = connection.getresponse()
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=edge-picture"
        assert answer.readline() == b"--edge-picture\r\n"
        for _ in range(3):
            head = {}
            while line := answer.readline().strip():
                name, _, value = line.decode().partition(": ")
                head[name] = value
            assert answer.read(int(head["content-length"])).startswith(b"\xff\xd8")
            assert head["x-captured-at"] == "1000.250"
            assert answer.readline() == b"\r\n"
            assert answer.readline() == b"--edge-picture\r\n"
        answer.close()
        connection.close()


def test_a_camera_without_a_picture_has_no_pictures():
    node = make_node(list_cameras=lambda: [make_sight("door")], get_latest=lambda camera: None)
    with serving(node) as served:
        assert served.ask("/api/v1/cameras/door/live.mjpeg").status == 503


def test_a_camera_without_a_stream_refuses_the_upgrade_and_nobody_floods_the_log(caplog):
    sight = replace(make_sight(), live=False)
    node = make_node(open_live=FakeStream().open, list_cameras=lambda: [sight])
    with serving(node) as served:
        for _ in range(20):
            with pytest.raises(InvalidStatus) as caught, watch(served):
                pass
            assert caught.value.response.status_code == 404
    assert [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")] == []


def test_text_that_is_none_ends_the_view_without_a_traceback(caplog):
    with serving(make_node(open_live=FakeStream().open)) as served:
        for _ in range(5):
            with watch(served) as socket:
                socket.recv(timeout=5)
                socket.socket.sendall(b"\x81\x81\0\0\0\0\xff")
                assert read_to_the_end(socket) == 1007
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []
