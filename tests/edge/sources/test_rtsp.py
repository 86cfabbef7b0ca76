"""The RTSP camera, against a real server and against one that is none."""

import contextlib
import logging
import socket
import threading
import time

import pytest
from pydantic import ValidationError

from edge.errors import SourceDeniedError, SourceError
from edge.sources.rtsp import Options, build
from edge.types import YuvPicture
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import WALKING, shared, write_video

PASSWORD = "p@ss/w:%d #1"
GENEROUS_S = 4  # for what should take one second: the machine may be busy


def camera(url, **options):
    return build(Options(url=url, open_timeout_s=1, read_timeout_s=1, **options))


def take(source, count):
    with source.connect(threading.Event()) as captures:
        return [next(captures) for _ in range(count)]


def failure(source, at_first_picture=None):
    """How a source fails at last, and how many seconds after its start or its first picture."""
    begun_s = [time.monotonic()]

    def read():
        with source.connect(threading.Event()) as captures:
            for number, _ in enumerate(captures):
                if number == 0 and at_first_picture:
                    at_first_picture()
                    begun_s[0] = time.monotonic()

    with pytest.raises(SourceError) as caught:
        read()
    return str(caught.value), time.monotonic() - begun_s[0]


@pytest.fixture
def mute():
    """A port where connections are accepted and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_real_video_arrives_over(transport):
    with rtsp_server(shared(WALKING)) as server:
        captures = take(camera(server.url, transport=transport), 5)
    assert isinstance(captures[0].picture, YuvPicture)
    assert captures[0].picture.size_wh == (768, 432)


def test_h265_arrives(tmp_path):
    quiet = {"x265-params": "log-level=none"}
    video = write_video(tmp_path / "a.mp4", codec="libx265", options=quiet)
    with rtsp_server(video) as server:
        assert take(camera(server.url), 3)[0].picture.size_wh == (160, 120)


@pytest.mark.parametrize("way", ["options", "file", "url"])
def test_the_camera_lets_us_in_with_a_password_from(way, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    with rtsp_server(user="us er", password=PASSWORD) as server:
        encoded = server.url.replace("://", "://us%20er:p%40ss%2Fw%3A%25d%20%231@")
        source = {
            "options": lambda: camera(server.url, user="us er", password=PASSWORD),
            "file": lambda: camera(server.url, user="us er", password_file=file),
            "url": lambda: camera(encoded),
        }[way]()
        assert len(take(source, 2)) == 2
        assert source.address == server.url
    assert "p@ss" not in caplog.text
    assert "p%40ss" not in caplog.text


def test_a_wrong_password_is_denied():
    with rtsp_server(user="viewer", password=PASSWORD) as server:
        for source, remedy in (
            (camera(server.url), "set user and password"),
            (camera(server.url, user="viewer", password="hunter2"), "check user and password"),
        ):
            with pytest.raises(SourceDeniedError, match=remedy) as caught:
                take(source, 1)
            assert "hunter2" not in f"{caught.value!r} {caught.value.__context__!r}"


def test_a_camera_that_drops_fails_at_once_and_comes_back():
    with rtsp_server() as server:
        source = camera(server.url)
        message, took_s = failure(source, at_first_picture=server.stop)
        assert "ended the stream" in message or "reset" in message
        assert took_s < GENEROUS_S
        assert "refused" in failure(source)[0]
        server.start()
        assert len(take(source, 3)) == 3


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_that_stalls_is_noticed_within_the_read_timeout(transport):
    with rtsp_server() as server:
        source = camera(server.url, transport=transport)
        message, took_s = failure(source, at_first_picture=server.freeze)
    assert message.endswith("was silent for 1 s (read_timeout_s)")
    assert took_s < GENEROUS_S


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_a_server_that_accepts_and_says_nothing_ends_in_time(mute, scheme):
    url = f"{scheme}://viewer:hunter2@127.0.0.1:{mute.getsockname()[1]}/live"
    message, took_s = failure(camera(url))
    assert message == (
        f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/live did not answer within 1 s: "
        "raise open_timeout_s if it is slow"
    )
    assert took_s < GENEROUS_S


def test_a_server_that_trickles_bytes_ends_in_time(mute):
    def trickle():
        connection, _ = mute.accept()
        with connection, contextlib.suppress(OSError):
            while True:
                connection.send(b"R")
                time.sleep(0.1)

    thread = threading.Thread(target=trickle)
    thread.start()
    message, took_s = failure(camera(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live"))
    thread.join()
    assert "raise open_timeout_s" in message
    assert took_s < GENEROUS_S


def test_packets_without_a_picture_are_noticed(tmp_path):
    video = write_video(tmp_path / "a.h264", frames=60, options={"g": "300", "bf": "0"})
    units = video.read_bytes()
    key, later = units.index(b"\0\0\1\x65"), units.index(b"\0\0\1\x41")
    garbage = bytes(200 + row % 7 for row in range(later - key - 4))
    video.write_bytes(units[: key + 4] + garbage + units[later:].replace(b"\x41\x9a", b"\x41\xff"))
    with rtsp_server(video) as server:
        message, took_s = failure(camera(server.url, first_picture_timeout_s=1))
    assert "no picture can be decoded" in message
    assert took_s < GENEROUS_S


def test_another_picture_size_in_mid_stream_ends_the_epoch(tmp_path):
    small = write_video(tmp_path / "small.h264", 5)
    large = write_video(tmp_path / "large.h264", 5, size_wh=(320, 240))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with rtsp_server(both) as server:
        assert "picture size changed to (320, 240)" in failure(camera(server.url))[0]


def test_a_host_without_address_is_named():
    assert "the name no-such-camera.invalid" in failure(camera("rtsp://no-such-camera.invalid/"))[0]


def test_an_unreadable_password_file_is_named(tmp_path):
    source = camera("rtsp://127.0.0.1:1/", user="viewer", password_file=tmp_path / "none")
    assert "cannot read the password file" in failure(source)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://cam/"},  # another protocol
        {"url": "rtsp://cam/", "password": "hunter2"},  # whose?
        {"url": "rtsp://cam/", "user": "a", "password": "hunter2", "password_file": "b"},
        {"url": "rtsp://cam/", "transport": "carrier pigeon"},
        {"url": "rtsp://cam/", "hwaccel": "abacus"},
        {"url": "rtsp://cam/", "read_timeout_s": 0},
    ],
)
def test_wrong_options_are_refused_without_showing_secrets(options):
    with pytest.raises(ValidationError) as caught:
        Options(**options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://u:p@cam:554/live/1", "rtsp://cam:554/live/1"),
        ("rtsp://u:p:@q@cam/live", "rtsp://cam/live"),  # not encoded, as people write it
        ("rtsp://cam/s?user=a&password=b/c&channel=1", "rtsp://cam/s?***"),
        ("rtsp://cam/user=a_password=b_channel=1", "rtsp://cam/***"),
        ("rtsps://cam/s?access_token=abc", "rtsps://cam/s?***"),
    ],
)
def test_the_address_of(url, shown):
    assert camera(url).address == shown
