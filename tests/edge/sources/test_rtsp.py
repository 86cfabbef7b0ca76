"""The RTSP camera, against a real server and against one that is none."""

import contextlib
import gc
import itertools
import logging
import socket
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge.errors import SourceDeniedError, SourceError
from edge.sources.rtsp import Options, build
from edge.types import YuvPicture
from tests.support.film_faults import reset
from tests.support.hostile_rtsp import hostile_rtsp
from tests.support.memory import measure_peak
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import WALKING, shared, write_video

PASSWORD = "p@ss/w:%d #1"
GENEROUS_S = 4  # for what should take one second: the machine may be busy


def camera(url, **options):
    return build(Options(url=url, **{"open_timeout_s": 1, "read_timeout_s": 1} | options))


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


def _describe_endlessly(exchange):
    if exchange.verb != "DESCRIBE":
        exchange.proceed()
        return
    exchange.answer(headers="Content-Type: application/sdp\r\n", length=1_900_000_000)
    while True:
        exchange.connection.sendall(b"a=" + b"x" * 99_996 + b"\r\n")


def _describe_many_streams(exchange):
    if exchange.verb != "DESCRIBE":
        exchange.proceed()
        return
    body = "v=0\r\n" + "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n" * 20_000
    exchange.answer(headers="Content-Type: application/sdp\r\n", body=body.encode())


def _head_endlessly(exchange):
    while True:
        exchange.connection.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + b"X-A: 1\r\n" * 9999)


def _fragment_endlessly(exchange):
    exchange.proceed()
    for seq in itertools.count(1) if exchange.verb == "PLAY" else ():
        head = bytes([0x7C, 0x85 if seq == 1 else 0x05])
        exchange.send_packet(head + b"\x11" * 60_000, seq)


def _send_gigantic_pictures(exchange):
    """A parameter set of 16384 x 16384 pixels before each picture (Exp-Golomb, H.264 7.3.2.1)."""
    exchange.proceed()
    for seq in itertools.count(1) if exchange.verb == "PLAY" else ():
        bits = "111" + "1" + "1" * 2 + "0" + "0" * 10 + f"{1024:011b}" * 1
        bits += "0" * 10 + f"{1024:011b}" + "10001"
        bits += "0" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        exchange.send_packet(b"\x67\x42\xc0\x3c" + data, seq)
        exchange.send_packet(b"\x65" + b"\x88" * 900, seq)
        time.sleep(0.01)


@pytest.mark.parametrize(
    "respond",
    [
        _describe_endlessly,
        _describe_many_streams,
        _head_endlessly,
        _fragment_endlessly,
        _send_gigantic_pictures,
    ],
)
def test_a_camera_that_sends_without_end_takes_64_mb_at_most(respond):
    stop = threading.Event()
    timer = threading.Timer(4, stop.set)
    timer.start()
    with hostile_rtsp(respond) as url, measure_peak() as peak, contextlib.suppress(SourceError):
        source = camera(url, open_timeout_s=2, first_picture_timeout_s=1)
        with source.connect(stop) as captures:
            for _ in captures:  # garbage may be taken for a picture
                pass
    timer.cancel()
    timer.join()
    assert peak.growth_bytes < 64 << 20


def test_an_open_that_is_late_frees_its_socket_at_once():
    gc.collect()
    gc.disable()
    try:
        with hostile_rtsp(lambda exchange: exchange.proceed()) as url:  # and no packet
            failure(camera(url, open_timeout_s=0.3))
            time.sleep(0.3)  # the server's ends
            before = sum(1 for _ in Path("/proc/self/fd").iterdir())
            for _ in range(5):
                assert "did not answer" in failure(camera(url, open_timeout_s=0.3))[0]
            time.sleep(0.3)
            assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= before
    finally:
        gc.enable()


def test_a_camera_that_answers_late_is_waited_for_as_long_as_it_is_told():
    def late(exchange):
        if exchange.verb != "DESCRIBE":
            exchange.proceed()
            return
        time.sleep(1.2)
        exchange.answer("404 Not Found")

    with hostile_rtsp(late) as url:
        message, took_s = failure(camera(url, open_timeout_s=5, read_timeout_s=0.2))
    assert "did not answer" not in message
    assert took_s > 1


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        ('Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"', "set the camera to MD5"),
        ('Digest realm="r", nonce="n"', "check user and password"),
    ],
)
def test_a_digest_that_ffmpeg_cannot_compute_is_named(challenge, says):
    def deny(exchange):
        exchange.answer("401 Unauthorized", f"WWW-Authenticate: {challenge}\r\n")

    with hostile_rtsp(deny) as url, pytest.raises(SourceDeniedError, match=says):
        take(camera(url, user="viewer", password="hunter2"), 1)


def test_a_camera_that_sends_over_udp_only_gets_the_remedy():
    def refuse_tcp(exchange):
        if exchange.verb == "SETUP":
            exchange.answer("461 Unsupported Transport")
        else:
            exchange.proceed()

    with hostile_rtsp(refuse_tcp) as url:
        assert 'set transport = "udp"' in failure(camera(url))[0]


@pytest.mark.parametrize("how", ["leaves", "resets"])
def test_a_camera_that_hangs_up_without_an_answer_is_not_called_no_video(how):
    def hang_up(exchange):
        if how == "resets":
            reset(exchange)
        raise ConnectionError

    with hostile_rtsp(hang_up) as url:
        assert "hung up without an answer" in failure(camera(url))[0]


def test_a_path_that_does_not_exist_is_named():
    with hostile_rtsp(lambda exchange: exchange.answer("404 Not Found")) as url:
        assert "check the path" in failure(camera(url))[0]


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
