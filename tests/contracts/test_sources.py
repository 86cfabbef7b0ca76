"""What every source promises, run over each module of `edge.sources`.

A new source is found by itself; it has to say below how a working and a broken one are made.
"""

import contextlib
import logging
import threading
import time
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge import plugins
from edge.errors import SourceError
from edge.ports import CodedSource, SparingSource
from edge.sources.camera import LocalCamera
from edge.sources.camera import Options as CameraOptions
from edge.types import Capture, Decoding
from tests.support.http_camera import http_camera, mjpeg, snapshot
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import write_video

SECRET = "hunter2/@%"


@contextlib.contextmanager
def working_rtsp(tmp_path):
    with rtsp_server(user="viewer", password=SECRET) as server:
        yield create("rtsp", url=server.url, user="viewer", password=SECRET)


@contextlib.contextmanager
def working_video_file(tmp_path):
    yield create("video_file", path=str(write_video(tmp_path / "a.mp4")), loop=True)


@contextlib.contextmanager
def working_camera(tmp_path):
    path = str(write_video(tmp_path / "a.mp4", frames=200))
    options = CameraOptions(device="/dev/video-of-a-test")
    yield LocalCamera(options, opener=lambda _: cv2.VideoCapture(path))


@contextlib.contextmanager
def working_synthetic(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install '.[demo]'")
    yield create("synthetic", size_wh=(320, 180))


@contextlib.contextmanager
def working_http(tmp_path):
    with http_camera(mjpeg(), "viewer", SECRET, "MD5") as server:
        yield create("http", url=server.url + "/live", user="viewer", password=SECRET)


@contextlib.contextmanager
def working_snapshot(tmp_path):
    with http_camera(snapshot, "viewer", SECRET, "Basic") as server:
        url = server.url + "/snap.jpg"
        yield create("snapshot", url=url, user="viewer", password=SECRET, fps=20)


WORKING = {
    "http": working_http,
    "snapshot": working_snapshot,
    "rtsp": working_rtsp,
    "video_file": working_video_file,
    "camera": working_camera,
    "synthetic": working_synthetic,
}
ENCODED = quote(SECRET, safe="")
ABSENT = {
    "rtsp": {"url": f"rtsp://viewer:{ENCODED}@127.0.0.1:1/live?token={SECRET}"},
    "http": {"url": f"http://viewer:{ENCODED}@127.0.0.1:1/live?token={SECRET}"},
    "snapshot": {"url": f"http://viewer:{ENCODED}@127.0.0.1:1/snap.jpg?token={SECRET}"},
    "video_file": {"path": "no/such/recording.mp4"},
    "camera": {"pipeline": f'rtspsrc location=rtsp://viewer:{SECRET}@cam/ user-pw="{SECRET}"'},
    "synthetic": {"photo": "no/such/photo.jpg"},
}


def create(kind, **options):
    return plugins.create("sources", {"kind": kind, **options})


@pytest.fixture(params=plugins.kinds("sources"))
def kind(request):
    return request.param


def test_a_working_source_delivers_read_only_pictures_with_honest_stamps(kind, tmp_path):
    with WORKING[kind](tmp_path) as source:
        begun_s = time.time(), time.monotonic()
        with source.connect(threading.Event()) as captures:
            taken = [next(captures) for _ in range(4)]
            ended_s = time.time(), time.monotonic()
    for capture in taken:
        assert isinstance(capture, Capture)
        assert begun_s[0] - 0.5 <= capture.captured_s <= ended_s[0]
        assert begun_s[1] - 0.5 <= capture.monotonic_s <= ended_s[1]
        picture = capture.picture
        for plane in (getattr(picture, name) for name in picture.__slots__ if len(name) in (1, 3)):
            assert isinstance(plane, np.ndarray)
            assert not plane.flags.writeable
    stamps = [capture.monotonic_s for capture in taken]
    assert stamps == sorted(stamps)
    assert len({capture.picture.size_wh for capture in taken}) == 1


def test_a_source_ends_quietly_when_it_is_stopped(kind, tmp_path):
    stop = threading.Event()
    with WORKING[kind](tmp_path) as source, source.connect(stop) as captures:
        next(captures)
        stop.set()
        assert len(list(captures)) <= 1


def test_a_source_can_be_connected_again(kind, tmp_path):
    with WORKING[kind](tmp_path) as source:
        for _ in range(2):
            with source.connect(threading.Event()) as captures:
                assert next(captures).picture.size_wh


def test_a_source_that_can_decode_less_does_and_delivers_all_again(kind, tmp_path):
    with WORKING[kind](tmp_path) as source:
        if not isinstance(source, SparingSource):
            pytest.skip("decodes all that it delivers")
        assert source.decoding is Decoding.ALL
        with source.connect(threading.Event()) as captures:
            for decoding in (*(set(Decoding) - {Decoding.NONE}), Decoding.ALL):
                source.decoding = decoding
                taken = [next(captures) for _ in range(3)]
                assert not any(capture.damaged or capture.late for capture in taken)


def test_a_tap_takes_every_packet_from_a_key_frame_on_with_the_times_of_its_captures(
    kind, tmp_path
):
    packets = []
    with WORKING[kind](tmp_path) as source:
        if not isinstance(source, CodedSource):
            pytest.skip("its pictures do not come coded")
        source.tap = packets.append
        with source.connect(threading.Event()) as captures:
            taken = [next(captures) for _ in range(4)]
    assert packets[0].is_key
    assert packets[0].format.codec == source.codec
    assert all(packet.data for packet in packets)
    assert len({packet.format for packet in packets}) == 1
    times = [packet.captured_s for packet in packets]
    for capture in taken:
        assert min(abs(capture.captured_s - at_s) for at_s in times) < 0.01
    monotonic = [packet.monotonic_s for packet in packets]
    assert monotonic == sorted(monotonic)


def test_a_source_that_is_only_tapped_decodes_nothing_and_keeps_its_connection(kind, tmp_path):
    packets, stop = [], threading.Event()
    with WORKING[kind](tmp_path) as source:
        if not isinstance(source, CodedSource) or not isinstance(source, SparingSource):
            pytest.skip("decodes all that it delivers")
        source.tap, source.decoding = packets.append, Decoding.NONE
        timer = threading.Timer(1.5, stop.set)
        timer.start()
        with source.connect(stop) as captures:
            assert list(captures) == []
        timer.join()
    assert len(packets) > 3


def test_captures_outlive_their_connection(kind, tmp_path):
    with WORKING[kind](tmp_path) as source:
        with source.connect(threading.Event()) as captures:
            picture = next(captures).picture
        assert next(captures, None) is None
        plane = picture.rgb if hasattr(picture, "rgb") else picture.y
        assert plane.any()


def test_an_absent_camera_is_an_error_that_names_it_and_hides_its_password(kind, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    source = create(kind, **ABSENT[kind])
    with pytest.raises(SourceError) as caught, source.connect(threading.Event()) as captures:
        next(captures)
    told = [source.address, str(caught.value), repr(caught.value), caplog.text, *capfd.readouterr()]
    error = caught.value
    while error := error.__cause__ or error.__context__:
        told.append(str(error) + repr(error))
    assert source.address
    assert not [text for text in told if "hunter2" in text]


def test_options_are_frozen_know_no_extras_and_show_no_password(kind):
    options_class = plugins.load("sources", kind).options
    options = options_class(**ABSENT[kind])
    assert "hunter2" not in f"{options} {options!r}"
    with pytest.raises(ValidationError):
        options.kind = "other"
    with pytest.raises(ValidationError, match="no_such_option") as caught:
        options_class(**ABSENT[kind], no_such_option=1)
    assert "hunter2" not in str(caught.value)
