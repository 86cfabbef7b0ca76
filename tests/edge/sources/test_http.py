"""Live cameras over HTTP, against a server that behaves and one that does not."""

import itertools
import math
import threading
import time
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from edge.errors import SourceDeniedError, SourceError
from edge.sources import http, snapshot, video_file
from edge.types import YuvPicture
from tests.support.http_camera import http_camera, jpeg, mjpeg
from tests.support.http_camera import snapshot as one_picture
from tests.support.memory import measure_peak
from tests.support.videos import write_video

PASSWORD = 'p@ss/w:%d #1?"'


def camera(url, **options):
    return http.build(http.Options(url=url, **{"open_timeout_s": 3, "read_timeout_s": 2} | options))


def take(source, count):
    with source.connect(threading.Event()) as captures:
        return list(itertools.islice(captures, count))


def failure(source):
    """How a source fails, and the captures before."""
    taken = []
    with pytest.raises(SourceError) as caught, source.connect(threading.Event()) as captures:
        taken.extend(captures)
    return caught.value, taken


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("raw", [False, True])
def test_mjpeg_arrives_multipart_and_raw(chunked, raw):
    with http_camera(mjpeg(chunked=chunked, raw=raw)) as server:
        captures = take(camera(server.url + "/live"), 5)
    assert isinstance(captures[0].picture, YuvPicture)
    assert captures[0].picture.size_wh == (160, 120)
    assert all(capture.key_frame and not capture.damaged for capture in captures)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("raw", [False, True])
def test_a_stream_that_ends_is_a_failure_and_is_asked_again(chunked, raw):
    with http_camera(mjpeg(0.4, chunked=chunked, raw=raw)) as server:
        source = camera(server.url + "/live")
        for _ in range(2):
            error, taken = failure(source)
            assert "ended the stream" in str(error)
            assert taken
        assert len(server.requests) == 2


def test_jpegs_that_come_too_soon_are_not_decoded():
    with http_camera(mjpeg(fps=50)) as server:
        source = camera(server.url)
        source.max_fps = 10
        with source.connect(threading.Event()) as captures:
            next(captures)
            taken = [next(captures) for _ in range(8)]
    steps_s = [b.monotonic_s - a.monotonic_s for a, b in itertools.pairwise(taken)]
    assert min(steps_s) > 0.05
    assert sum(capture.passed for capture in taken) >= 2 * len(taken)


def test_a_slow_reader_gets_the_newest_picture_with_the_time_of_its_arrival():
    with (
        http_camera(mjpeg(fps=50)) as server,
        camera(server.url).connect(threading.Event()) as captures,
    ):
        ages_s = []
        for _ in range(5):
            time.sleep(0.3)
            ages_s.append(time.monotonic() - next(captures).monotonic_s)
    assert min(ages_s[1:]) < 0.15  # and not 1.2 s after five of them


def test_a_gray_camera_of_12_megapixels_is_shown_and_one_of_20_is_refused_by_name():
    def send(size_wh):
        picture = cv2.imencode(".jpg", np.full(size_wh[::-1], 99, np.uint8))[1].tobytes()

        def stream(reply):
            reply.begin("multipart/x-mixed-replace; boundary=frame")
            reply.part(picture)
            reply.over.wait(1)

        return stream

    with http_camera(send((4000, 3000))) as server:
        assert take(camera(server.url), 1)[0].picture.size_wh == (4000, 3000)
    with http_camera(send((5200, 3900))) as server:
        error, _ = failure(camera(server.url + "/live"))
    assert str(error).startswith(f"{server.url}/live: pictures in the format gray are too large")


@pytest.mark.parametrize("variants", [100, 5000])
def test_playlists_that_list_themselves_as_variants_are_refused_within_64_mb(variants):
    master = b"#EXTM3U\n" + b"#EXT-X-STREAM-INF:BANDWIDTH=1\nlive.m3u8\n" * variants

    def stream(reply):
        reply.begin("application/vnd.apple.mpegurl", length=len(master))
        for at in range(0, len(master), 999):  # tags are torn
            reply.write(master[at : at + 999])

    with http_camera(stream) as server, measure_peak() as peak:
        error, _ = failure(camera(server.url + "/live.m3u8", open_timeout_s=10))
    assert "sends playlists that are too long" in str(error)
    assert peak.growth_bytes < 64 << 20


def test_the_names_of_ever_new_playlists_are_bounded_too():
    body = Mock()
    body.peek.return_value = body.read.return_value = b"#EXTM3U"
    playlists = http._Playlist(Mock(), "camera")
    for number in range(5000):
        playlists.read(body, f"http://camera/{number}{'x' * 4000}").read(100)
    assert "playlists that are too long" in str(playlists.failure)


def test_what_a_camera_says_of_itself_is_quoted_in_short():
    long = "pw" * 20_000
    with http_camera(lambda reply: reply.begin(f"image/{long}")) as server:
        error, _ = failure(camera(server.url))
    assert "answers with image/pwpw" in str(error)
    assert len(str(error)) < 200
    with http_camera(mjpeg(), "user", PASSWORD, long) as server:
        error, _ = failure(camera(server.url, user="user", password=PASSWORD))
    assert "asks for a login by pwpw" in str(error).lower()
    assert len(str(error)) < 300


@pytest.mark.parametrize("scheme", ["Basic", "MD5", "SHA-256"])
def test_a_login_is_answered(scheme):
    with http_camera(mjpeg(), "us er", PASSWORD, scheme) as server:
        assert take(camera(server.url, user="us er", password=PASSWORD), 2)
        with pytest.raises(SourceDeniedError, match="check user and password"):
            take(camera(server.url, user="us er", password="hunter2"), 1)
        with pytest.raises(SourceDeniedError, match="set user and password"):
            take(camera(server.url), 1)


def test_a_login_that_nobody_can_compute_is_named():
    with (
        http_camera(mjpeg(), "viewer", "x", "NTLM") as server,
        pytest.raises(SourceDeniedError, match="NTLM, which is not supported"),
    ):
        take(camera(server.url, user="viewer", password="x"), 1)


def test_mpeg_ts_arrives_and_its_end_is_a_failure(tmp_path):
    video = write_video(tmp_path / "a.ts", 30, options={"g": "5", "bf": "0"}).read_bytes()

    def stream(reply):
        reply.begin("video/mp2t", chunked=True)
        for at in range(0, len(video), 4096):
            reply.write(video[at : at + 4096])
            time.sleep(0.02)
        reply.end()

    with http_camera(stream) as server:
        error, taken = failure(camera(server.url + "/live.ts"))
    assert "ended the stream" in str(error)
    assert len(taken) > 5
    assert taken[0].picture.size_wh == (160, 120)


def test_a_playlist_that_ends_is_a_failure_and_is_asked_again(tmp_path):
    video = write_video(tmp_path / "a.ts", 10, options={"g": "5", "bf": "0"}).read_bytes()
    playlist = (
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
        b"#EXTINF:1.0,\n0.ts\n#EXTINF:1.0,\n1.ts\n#EXT-X-ENDLIST\n"
    )

    def stream(reply):
        body = playlist if reply.path.endswith("m3u8") else video
        kind = "application/vnd.apple.mpegurl" if body is playlist else "video/mp2t"
        reply.begin(kind, length=len(body))
        reply.write(body)

    with http_camera(stream, "viewer", PASSWORD, "MD5") as server:
        source = camera(server.url + "/live.m3u8", user="viewer", password=PASSWORD)
        for _ in range(2):
            error, taken = failure(source)
            assert "ended the stream" in str(error)
            assert taken
    assert server.requests.count("/live.m3u8") >= 2


@pytest.mark.parametrize("max_fps", [math.inf, 2])
def test_the_pictures_of_a_playlist_come_at_their_pace(tmp_path, max_fps):
    """A segment comes at once; of pictures that are left out nobody would wait for the time."""
    video = write_video(tmp_path / "a.ts", 40, options={"g": "5", "bf": "0"}).read_bytes()

    def stream(reply):
        body = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n0.ts\n"
        body = body if reply.path.endswith("m3u8") else video
        reply.begin("video/mp2t", length=len(body))
        reply.write(body)

    with http_camera(stream) as server:
        source = camera(server.url + "/live.m3u8", read_timeout_s=1)
        source.max_fps = max_fps
        with source.connect(threading.Event()) as captures:
            taken = list(itertools.islice(captures, 6))
    assert 0.3 < taken[-1].monotonic_s - taken[0].monotonic_s < 2
    assert not any(capture.passed for capture in taken)


# --- what no camera should send -------------------------------------------------------------------


def _endless(head, piece):
    def stream(reply):
        reply.handler.wfile.write(head)
        while not reply.over.is_set():
            reply.handler.wfile.write(piece)

    return stream


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = {
    "headers": _endless(OK, b"X-Header: 1\r\n"),
    "a header": _endless(OK + b"X-Header: ", b"x" * 60_000),
    "a picture": _endless(
        OK + b"Content-Type: multipart/x-mixed-replace\r\n\r\n\xff\xd8\xff\xe0\0\2", b"x" * 60_000
    ),
    "no picture": _endless(
        OK + b"Content-Type: multipart/x-mixed-replace\r\n\r\n--frame\r\n", b"x" * 60_000
    ),
    "a playlist": _endless(
        OK + b"\r\n#EXTM3U\n#EXT-X-TARGETDURATION:1\n", b"#EXTINF:1,\na.ts\n" * 999
    ),
    "garbage": _endless(OK + b"Content-Type: video/mp2t\r\n\r\n", bytes(60_000)),
    "a chunk of a redirect": _endless(
        b"HTTP/1.1 302 Found\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"x" * 60_000,
    ),
    "a chunk": _endless(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 60_000),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_refused_in_time_and_within_64_mb(what):
    with http_camera(ENDLESS[what]) as server:
        begun_s = time.monotonic()
        with measure_peak() as peak:
            error, taken = failure(camera(server.url, open_timeout_s=2))
        assert time.monotonic() - begun_s < 10
    assert not taken
    assert "127.0.0.1" in str(error)
    assert peak.growth_bytes < 64 << 20


def test_playlists_that_are_long_together_are_refused_within_64_mb():
    path = "/" + "long" * 500
    master = "#EXTM3U\n" + "".join(
        f"#EXT-X-STREAM-INF:BANDWIDTH={n + 1}\n{path}/{n}.m3u8\n" for n in range(100)
    )
    media = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + "#EXTINF:1,\na\n" * 20_000

    def stream(reply):
        body = (master if reply.path == "/live.m3u8" else media).encode()
        reply.begin("application/vnd.apple.mpegurl", length=len(body))
        reply.write(body)

    with http_camera(stream) as server, measure_peak() as peak:
        error, taken = failure(camera(server.url + "/live.m3u8", open_timeout_s=10))
    assert not taken
    assert "sends playlists that are too long" in str(error)
    assert peak.growth_bytes < 64 << 20


def _serve_playlist(video, missing):
    """A playlist of four segments, of which some are not there."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + b"".join(
        b"#EXTINF:1.0,\n%d.ts\n" % n for n in range(4)
    )

    def stream(reply):
        if reply.path in missing:
            reply.handler.send_error(404)
            return
        body = playlist if reply.path.endswith("m3u8") else video
        reply.begin("video/mp2t", length=len(body))
        reply.write(body)

    return stream


def test_segments_that_are_missing_are_named_and_nothing_is_printed(capfd):
    with http_camera(_serve_playlist(b"", {f"/{n}.ts" for n in range(4)})) as server:
        error, taken = failure(camera(server.url + "/live.m3u8"))
    assert not taken
    assert "404" in str(error)
    assert capfd.readouterr().err == ""


def test_a_segment_that_is_missing_is_passed_over(tmp_path):
    video = write_video(tmp_path / "a.ts", 10, options={"g": "5", "bf": "0"}).read_bytes()
    with http_camera(_serve_playlist(video, {"/0.ts", "/2.ts"})) as server:
        source = camera(server.url + "/live.m3u8")
        assert take(source, 3)


def test_an_answer_that_trickles_ends_in_time():
    def stream(reply):
        while not reply.over.wait(0.1):
            reply.handler.wfile.write(b"H")

    with http_camera(stream) as server:
        begun_s = time.monotonic()
        error, _ = failure(camera(server.url, open_timeout_s=1))
        assert time.monotonic() - begun_s < 5
    assert "raise open_timeout_s" in str(error)


def test_a_stream_that_stalls_is_noticed():
    def stream(reply):
        reply.begin("multipart/x-mixed-replace; boundary=frame")
        reply.part(jpeg())
        reply.over.wait()

    with http_camera(stream) as server:
        error, taken = failure(camera(server.url, read_timeout_s=0.5))
    assert "was silent for 0.5 s" in str(error)
    assert len(taken) == 1


def test_pictures_that_are_cut_off_are_counted_and_passed_over():
    def stream(reply):
        reply.begin("multipart/x-mixed-replace; boundary=frame")
        while not reply.over.wait(0.02):
            whole = jpeg(100)
            reply.part(whole[: len(whole) // 2])
            reply.part(whole)

    with http_camera(stream) as server:
        assert len(take(camera(server.url), 5)) == 5


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("text/html", b"<html>" * 9, "answers with text/html, not with video"),
        ("image/png", b"\x89PNG" * 9, "answers with image/png"),
        ("image/jpeg", jpeg(), 'use kind = "snapshot"'),
    ],
)
def test_what_is_no_stream_is_named_with_the_remedy(kind, body, says):
    def stream(reply):
        reply.begin(kind, length=len(body))
        reply.write(body)

    with http_camera(stream) as server:
        error, _ = failure(camera(server.url))
    assert says in str(error)


def test_a_redirect_in_a_circle_ends():
    def stream(reply):
        reply.handler.send_response(302)
        reply.handler.send_header("Location", "/again")
        reply.handler.send_header("Content-Length", "0")
        reply.handler.end_headers()

    with http_camera(stream) as server:
        error, _ = failure(camera(server.url))
    assert "redirects in a circle" in str(error)
    assert len(server.requests) < 10


@pytest.mark.parametrize("kind", [camera, lambda url, **o: ask(url, **o)], ids=["live", "picture"])
@pytest.mark.parametrize(
    "location",
    [
        "http://[", "//[::1", "http://h:99999/", "http://h:x/", "http://[v1.x]/", "file:///etc/passwd",
        "http://", "http:///x", "http://a b/", "http://" + "a" * 80 + ".x/", "http://\xff\xff/", "ftp://h/",
        "http://h/\x00",
    ],
)  # fmt: skip
def test_a_redirect_to_nonsense_is_a_failure(location, kind):
    def stream(reply):
        reply.handler.send_response(302)
        reply.handler.send_header("Location", location)
        reply.handler.send_header("Content-Length", "0")
        reply.handler.end_headers()

    with http_camera(stream) as server:
        failure(kind(server.url, open_timeout_s=0.5))


def test_a_login_asked_for_elsewhere_is_not_given():
    def elsewhere(reply):
        raise AssertionError("it has no login")

    with http_camera(elsewhere, "viewer", "x", "Basic") as other:

        def stream(reply):
            reply.handler.send_response(302)
            reply.handler.send_header("Location", other.url)
            reply.handler.send_header("Content-Length", "0")
            reply.handler.end_headers()

        with http_camera(stream) as server:
            error, _ = failure(camera(server.url, user="viewer", password="x"))
    assert "another host or port" in str(error)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["host", "port"])
def test_a_login_is_not_sent_to_another(host):
    seen = []

    def elsewhere(reply):
        seen.append(reply.handler.headers.get("Authorization"))
        mjpeg()(reply)

    with http_camera(elsewhere) as other:

        def stream(reply):
            reply.handler.send_response(302)
            reply.handler.send_header("Location", other.url.replace("127.0.0.1", host))
            reply.handler.send_header("Content-Length", "0")
            reply.handler.end_headers()

        with http_camera(stream, "viewer", "x", "Basic") as server:
            assert take(camera(server.url, user="viewer", password="x"), 1)
    assert seen == [None]


# --- snapshots ------------------------------------------------------------------------------------


def ask(url, **options):
    return snapshot.build(snapshot.Options(url=url, **options))


def test_a_picture_is_asked_for_at_the_pace_on_one_connection():
    with http_camera(one_picture, "viewer", "x", "SHA-256") as server:
        source = ask(server.url + "/snap.jpg", user="viewer", password="x", fps=10)
        begun_s = time.monotonic()
        captures = take(source, 11)
        took_s = time.monotonic() - begun_s
    assert took_s > 0.9
    assert len(server.requests) <= 10 * took_s + 2
    assert (server.connections, server.denied) == (1, 1)
    stamps_s = [capture.monotonic_s for capture in captures]
    assert stamps_s == sorted(set(stamps_s))


def test_the_pace_of_the_camera_reaches_its_source():
    from edge.config import Camera
    from edge.service.camera_pool import complete_source

    source = {"kind": "snapshot", "url": "http://cam/snap.jpg"}
    assert complete_source(Camera(name="a", source=source, fps=2))["fps"] == 2
    assert complete_source(Camera(name="a", source={**source, "fps": 1}, fps=2))["fps"] == 1
    assert "fps" not in complete_source(Camera(name="a", source={"kind": "camera"}, fps=2))


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [("text/html", b"<html>", "does not answer with a JPEG"), ("image/jpeg", None, "more than 24")],
)
def test_an_answer_that_is_no_picture_is_named(kind, body, says):
    def stream(reply):
        reply.begin(kind, length=len(body) if body else 1_900_000_000)
        while not reply.over.is_set():
            reply.write(body or b"x" * 60_000)
            if body:
                return

    with http_camera(stream) as server:
        error, _ = failure(ask(server.url))
    assert says in str(error)


def test_a_refused_login_is_told_as_such():
    with http_camera(one_picture, "viewer", "x", "Basic") as server:
        error, _ = failure(ask(server.url, user="viewer", password="hunter2"))
    assert isinstance(error, SourceDeniedError)
    assert "401" in str(error)


# --- former addresses -----------------------------------------------------------------------------


def test_a_live_address_of_a_video_file_is_read_as_live_with_a_warning(caplog):
    with http_camera(mjpeg(0.4, chunked=True)) as server:
        source = video_file.build(video_file.Options(path=server.url + "/live?token=hunter2"))
        error, taken = failure(source)
    assert taken
    assert "ended the stream" in str(error)
    assert 'kind = "http"' in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(("camera_fps", "asked"), [(5, 5), (100, 60)])
def test_a_camera_that_is_faster_than_pictures_can_be_asked_for_is_asked_as_fast_as_possible(
    camera_fps, asked
):
    from edge.config import Camera
    from edge.service.camera_pool import complete_source, create_sources

    source = {"kind": "snapshot", "url": "http://127.0.0.1:9/x.jpg"}
    camera = Camera(name="door", fps=camera_fps, source=source)
    assert complete_source(camera)["fps"] == asked
    create_sources([camera])
