"""Live streams that are decoded too slowly, or not whole: a real RTSP server and an HTTP camera."""

import itertools
import logging
import math
import threading
import time

import av
import pytest

from edge.sources import http, rtsp
from edge.sources._av import Video
from edge.types import Decoding
from tests.support.http_camera import http_camera
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import write_video

FPS, GOP = 10, 10
MAX_LAG_S = 1.0
SLOW_S = 0.25  # a packet


class SlowDecoder:
    """Decodes, and sleeps at each packet while it is slow."""

    def __init__(self):
        self.is_slow = threading.Event()

    def __call__(self, video, packet, decoding):
        if self.is_slow.is_set():
            time.sleep(SLOW_S)
        return Video.decode(video, packet, decoding)


@pytest.fixture
def stream(tmp_path):
    """Answers with MPEG-TS, a picture at a time."""
    film = write_video(
        tmp_path / "a.ts", 60 * FPS, options={"g": str(GOP), "bf": "0", "sc_threshold": "0"}
    )
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    ends = [packet.pos for packet in packets[1:]]

    def answer(reply):
        data, begun_s = film.read_bytes(), time.monotonic()
        reply.begin("video/mp2t")
        for number, (begin, end) in enumerate(itertools.pairwise([0, *ends])):
            reply.write(data[begin:end])
            reply.over.wait(max(begun_s + number / FPS - time.monotonic(), 0))

    return answer


@pytest.fixture(params=["rtsp", "http"])
def make(request, stream):
    """Makes a source with a decoder; the camera sends ten pictures and a key frame a second."""
    if request.param == "rtsp":
        with rtsp_server(fps=FPS, gop=GOP) as server:
            options = rtsp.Options(url=server.url, max_lag_s=MAX_LAG_S)
            yield lambda decode=Video.decode: rtsp.RtspCamera(options, decode)
    else:
        with http_camera(stream) as server:
            options = http.Options(url=server.url + "/live.ts", max_lag_s=MAX_LAG_S)
            yield lambda decode=Video.decode: http.HttpCamera(options, decode)


def test_a_decoder_that_is_too_slow_is_late_by_a_bounded_time_and_catches_up(make, caplog):
    caplog.set_level(logging.WARNING)
    decoder = SlowDecoder()
    source, late, taken = make(decoder), 0, []
    with source.connect(threading.Event()) as captures:
        for capture in itertools.islice(captures, 15):
            assert capture.late == 0
        decoder.is_slow.set()
        begun_s = time.monotonic()
        while late == 0:
            assert time.monotonic() - begun_s < 60
            taken.append(next(captures))
            late += taken[-1].late
            assert taken[-1].lag_s <= MAX_LAG_S
        decoder.is_slow.clear()
        keys = 0
        while (capture := next(captures)).lag_s > 0.3:
            keys += capture.key_frame
            assert keys <= 2
    assert max(capture.lag_s for capture in taken) > 0.5 * MAX_LAG_S
    assert "more than max_lag_s" in caplog.text
    # the stamps are of the camera's pictures, not of when they were decoded
    in_row = [a for a, b in itertools.pairwise(taken) if b.late == 0]
    steps_s = [b.monotonic_s - a.monotonic_s for a, b in itertools.pairwise(in_row)]
    assert sum(steps_s) / len(steps_s) < 0.8 * SLOW_S
    assert sorted(steps_s)[0] >= 0


def test_a_camera_of_which_key_frames_are_wanted_delivers_them_and_then_all(make):
    source = make()
    with source.connect(threading.Event()) as captures:
        assert [next(captures).key_frame for _ in range(5)].count(True) <= 2
        source.decoding = Decoding.KEY_FRAMES
        sparse = list(itertools.islice(captures, 2 * GOP))
        sparse = [next(captures) for _ in range(3)]
        source.decoding = Decoding.ALL
        full = [next(captures) for _ in range(2 * GOP)]
    assert all(capture.key_frame for capture in sparse)
    assert sum(capture.undecoded for capture in sparse) >= 2 * (GOP - 1)
    assert not any(capture.late or capture.damaged for capture in sparse + full)
    assert [capture.key_frame for capture in full].count(False) >= GOP


def test_pictures_that_come_too_soon_are_decoded_and_passed_over(make):
    source = make()
    source.max_fps = FPS / 3
    with source.connect(threading.Event()) as captures:
        for _ in range(6):  # what FFmpeg probed comes at once
            next(captures)
        taken = [next(captures) for _ in range(12)]
        source.max_fps = math.inf
        next(captures)
        full = [next(captures) for _ in range(GOP)]
    between = [capture for capture in taken if not capture.key_frame]
    assert len(between) >= 6
    steps_s = [b.monotonic_s - a.monotonic_s for a, b in itertools.pairwise(between)]
    assert sum(steps_s) / len(steps_s) == pytest.approx(3 / FPS, rel=0.1)
    span_s = taken[-1].monotonic_s - taken[0].monotonic_s
    assert sum(1 + c.passed for c in taken[1:]) == pytest.approx(span_s * FPS, abs=1.5)
    assert not any(capture.late or capture.damaged or capture.undecoded for capture in taken)
    assert not any(capture.passed for capture in full)


def test_pictures_that_come_too_soon_are_no_silence():
    with rtsp_server(fps=FPS, gop=10 * FPS) as server:
        source = rtsp.build(rtsp.Options(url=server.url, read_timeout_s=0.5))
        source.max_fps = 0.5
        with source.connect(threading.Event()) as captures:
            taken = [next(captures) for _ in range(3)]
    assert max(b.monotonic_s - a.monotonic_s for a, b in itertools.pairwise(taken)) > 1


def test_pictures_that_are_left_out_are_no_silence(tmp_path):
    """Key frames are further apart than a camera may be silent."""
    film = write_video(tmp_path / "a.mp4", 60, options={"g": "15", "bf": "0"})
    with rtsp_server(film) as server:
        source = rtsp.build(rtsp.Options(url=server.url, read_timeout_s=0.5))
        source.decoding = Decoding.KEY_FRAMES
        with source.connect(threading.Event()) as captures:
            taken = list(itertools.islice(captures, 18))
    assert [capture.key_frame for capture in taken[16:]] == [True, True]


def test_pictures_that_are_left_out_are_no_silence_over_http(stream):
    with http_camera(stream) as server:
        options = http.Options(url=server.url + "/live.ts", read_timeout_s=0.6)
        source = http.build(options)
        source.decoding = Decoding.KEY_FRAMES
        with source.connect(threading.Event()) as captures:
            taken = []
            while len(taken) < 3:
                if (capture := next(captures)).undecoded:
                    taken.append(capture)
    assert all(capture.key_frame for capture in taken)
