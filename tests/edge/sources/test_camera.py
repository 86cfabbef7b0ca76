"""Cameras of this machine. There is none where tests run: a fake stands in for OpenCV's."""

import threading
import time

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge.errors import SourceError
from edge.sources.camera import LocalCamera, Options, build


class Fake:
    """A VideoCapture whose pictures come from a function of their number."""

    def __init__(self, picture_of):
        self._picture_of = picture_of
        self._row = -1
        self.released = threading.Event()

    def isOpened(self):
        return True

    def grab(self):
        self._row += 1
        self._picture = self._picture_of(self._row)
        return self._picture is not None

    def retrieve(self):
        return True, self._picture

    def release(self):
        self.released.set()


def grey(row, size=(4, 6)):
    time.sleep(0.01)
    return np.full((*size, 3), row, np.uint8)


def camera(fake, **options):
    options = Options(device="/dev/video0", open_timeout_s=0.5, read_timeout_s=0.3, **options)
    return LocalCamera(options, opener=lambda _: fake)


def test_pictures_are_rgb_and_the_camera_is_released():
    fake = Fake(lambda row: time.sleep(0.01) or np.full((4, 6, 3), (1, 2, 3), np.uint8))
    with camera(fake).connect(threading.Event()) as captures:
        assert next(captures).picture.rgb[0, 0].tolist() == [3, 2, 1]
    assert fake.released.wait(2)


def test_a_slow_reader_gets_the_latest_picture():
    with camera(Fake(grey)).connect(threading.Event()) as captures:
        first = next(captures).picture.rgb[0, 0, 0]
        time.sleep(0.2)
        assert next(captures).picture.rgb[0, 0, 0] > first + 2


def test_a_read_that_blocks_ends_in_time_and_its_device_is_not_opened_twice():
    release = threading.Event()
    fake = Fake(lambda row: grey(row) if row < 3 else release.wait(10) and None)
    source = camera(fake)
    begun_s = time.monotonic()
    with (
        pytest.raises(SourceError, match=r"/dev/video0 was silent for 0\.3 s"),
        source.connect(threading.Event()) as captures,
    ):
        list(captures)
    assert time.monotonic() - begun_s < 5
    with (
        pytest.raises(SourceError, match="still blocked in the driver"),
        source.connect(threading.Event()),
    ):
        pass
    release.set()
    assert fake.released.wait(2)


def test_an_opener_that_blocks_ends_in_time():
    release = threading.Event()
    source = LocalCamera(
        Options(device="/dev/video0", open_timeout_s=0.2),
        opener=lambda _: release.wait(10) and Fake(grey),
    )
    with (
        pytest.raises(SourceError, match=r"did not answer within 0\.2 s"),
        source.connect(threading.Event()) as captures,
    ):
        next(captures)
    release.set()


def test_the_end_of_the_stream_and_another_size_are_failures():
    fakes = {
        "ended the stream": Fake(lambda row: grey(row) if row < 3 else None),
        "picture size changed to": Fake(lambda row: grey(row, (4, 6) if row < 9 else (8, 6))),
    }
    for message, fake in fakes.items():
        with (
            pytest.raises(SourceError, match=message),
            camera(fake).connect(threading.Event()) as captures,
        ):
            list(captures)


@pytest.mark.parametrize(
    ("device", "says"),
    [("/dev/v4l/by-id/none", "is it plugged in"), ("/dev/null", "cannot be opened")],
)
def test_a_device_that_is_no_camera_is_named(device, says, capfd):
    with (
        pytest.raises(SourceError, match=says) as caught,
        build(Options(device=device)).connect(threading.Event()) as captures,
    ):
        next(captures)
    assert device in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_a_pipeline_without_gstreamer_says_what_to_do():
    source = build(Options(pipeline="videotestsrc ! appsink"))
    with (
        pytest.raises(SourceError, match="built without GStreamer"),
        source.connect(threading.Event()) as captures,
    ):
        next(captures)


@pytest.mark.parametrize(
    "options",
    [{}, {"device": "/dev/video0", "pipeline": "a ! b"}, {"pipeline": "a ! b", "width": 640}],
)
def test_contradicting_options_are_refused(options):
    with pytest.raises(ValidationError):
        Options(**options)
