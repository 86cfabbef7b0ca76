"""Video files: real ones, small ones and broken ones."""

import contextlib
import itertools
import os
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge.errors import SourceEndedError, SourceError
from edge.sources import _helper_thread
from edge.sources.video_file import Options, build
from edge.types import RgbPicture, YuvPicture
from edge.vision.resize import to_rgb
from tests.support.videos import FACES_GIF, WALKING, shared, write_video


def source_of(path, **options):
    return build(Options(path=str(path), **{"every_frame": True} | options))


def pictures(source, most=10**6):
    """Pictures of one connection, and how it failed or an empty string."""
    taken = []
    try:
        with source.connect(threading.Event()) as captures:
            for capture in captures:
                taken.append(capture.picture)
                if len(taken) == most:
                    break
    except SourceError as error:
        return taken, str(error)
    return taken, ""


def test_every_frame_of_a_real_video_is_read_once():
    with source_of(shared(WALKING)).connect(threading.Event()) as captures:
        sizes = [capture.picture.size_wh for capture in captures]
    assert sizes == [(768, 432)] * 1394


def test_a_real_gif_is_read():
    taken, problem = pictures(source_of(shared(FACES_GIF)))
    assert (len(taken), problem) == (35, "")
    assert isinstance(taken[0], RgbPicture)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "kind"),
    [
        ("a.mp4", "libx264", "yuv420p", YuvPicture),
        ("a.mp4", "libx264", "yuv422p", YuvPicture),
        ("a.mp4", "libx264", "yuv444p", YuvPicture),
        ("a.mp4", "libx264", "yuv420p10le", RgbPicture),
        ("a.mkv", "rawvideo", "nv12", YuvPicture),
        ("a.h264", "libx264", "yuv420p", YuvPicture),
        ("a.h265", "libx265", "yuv420p", YuvPicture),
        ("a.avi", "mjpeg", "yuvj420p", YuvPicture),
        ("2024-01-01T10:00.mp4", "libx264", "yuv420p", YuvPicture),  # no protocol
    ],
)
def test_colours_survive(tmp_path, name, codec, pix_fmt, kind):
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {"qp": "10"}
    options = {} if codec in ("rawvideo", "mjpeg") else quiet
    video = write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, options=options)
    taken, problem = pictures(source_of(video))
    assert (len(taken), problem) == (10, "")
    assert {type(picture) for picture in taken} == {kind}
    rgb = to_rgb(taken[5]).astype(int)
    assert rgb.shape == (120, 160, 3)
    assert np.abs(rgb[10:50, 10:150] - (220, 20, 20)).mean() < 8
    assert np.abs(rgb[70:110, 10:150] - 40).mean() < 8


def test_planes_are_views_of_the_decoders_memory(tmp_path):
    picture = pictures(source_of(write_video(tmp_path / "a.mp4")))[0][0]
    for plane in (picture.y, picture.u, picture.v):
        assert plane.base is not None
        assert not plane.flags.writeable


@pytest.mark.parametrize("rotation", [90, -90, 180])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_rotation_metadata_is_honoured(tmp_path, rotation, pix_fmt):
    video = write_video(tmp_path / "a.mp4", rotation=rotation, pix_fmt=pix_fmt)
    picture = pictures(source_of(video))[0][0]
    rgb = to_rgb(picture).astype(int)
    assert picture.size_wh == ((160, 120) if rotation == 180 else (120, 160))
    red = {90: rgb[:, :50], -90: rgb[:, 70:], 180: rgb[70:]}[rotation]  # it was above
    assert np.abs(red - (220, 20, 20)).mean() < 12


def test_frames_that_the_decoder_holds_back_come_at_the_end(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=12, options={"bf": "3"})
    for options in ({"every_frame": True}, {"every_frame": False, "speed": 20}):
        taken, problem = pictures(source_of(video, **options))
        assert (len(taken), problem) == (12, "")
        grey = [int(to_rgb(picture)[100, 80, 0]) for picture in taken]
        assert grey == sorted(grey)


def test_a_paced_file_takes_its_time(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=10)
    stamps = []
    with source_of(video, every_frame=False, speed=4).connect(threading.Event()) as captures:
        stamps = [capture.monotonic_s for capture in captures]
    assert len(stamps) == 10
    assert 0.2 <= stamps[-1] - stamps[0] < 2  # 0.9 s of video at speed 4


@pytest.mark.parametrize(
    "options", [{}, {"every_frame": False, "speed": 5}, {"every_frame": False, "speed": 100}]
)
def test_the_time_of_a_recording_is_its_own_at_every_speed(tmp_path, options):
    video = write_video(tmp_path / "a.mp4", frames=15, fps=5, options={"bf": "2"})
    with source_of(video, **options).connect(threading.Event()) as captures:
        taken = list(captures)
    for stamps in ([c.monotonic_s for c in taken], [c.captured_s for c in taken]):
        assert np.allclose(np.diff(stamps), 0.2, atol=1e-5)
    arrivals_s = [capture.arrived_s for capture in taken]
    assert arrivals_s == sorted(arrivals_s)
    assert arrivals_s[-1] - arrivals_s[0] < 2.5


def test_stamps_do_not_depend_on_when_a_recording_is_read(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=31, fps=10)

    def steps():
        with source_of(video).connect(threading.Event()) as captures:
            stamps = [capture.monotonic_s for capture in captures]
        return [stamp - stamps[0] for stamp in stamps]

    first = steps()
    time.sleep(0.0137)
    assert steps() == first  # to the last bit: a dwell of exactly 3 s must not depend on it


def test_the_time_of_a_recording_goes_on_where_it_begins_again_or_resumes(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=4)
    with source_of(video, loop=True).connect(threading.Event()) as captures:
        stamps = [next(captures).monotonic_s for _ in range(10)]
    assert np.allclose(np.diff(stamps), 0.1, atol=1e-5)
    small = write_video(tmp_path / "small.h264", 6)
    large = write_video(tmp_path / "large.h264", 7, size_wh=(320, 240))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    source, stamps = source_of(both), []
    for _ in range(2):
        with (
            contextlib.suppress(SourceError),
            source.connect(threading.Event()) as captures,
        ):
            for capture in captures:
                stamps.append(capture.captured_s)
    assert len(stamps) == 13
    assert (np.diff(stamps) > 0).all()


def test_a_gap_in_a_recording_is_a_gap_in_its_time_but_not_in_its_playing(tmp_path):
    path = tmp_path / "lapse.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 1000)
        for pts in (0, 100, 20_100, 20_200):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), pts % 251, np.uint8))
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with source_of(path).connect(threading.Event()) as captures:
        stamps = [capture.monotonic_s for capture in captures]
    assert np.allclose(np.diff(stamps), [0.1, 20, 0.1], atol=1e-3)


@pytest.mark.parametrize("make", ["fifo", "device", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    path = tmp_path / "a.mp4"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    begun_s = time.monotonic()
    taken, problem = pictures(source_of(path))
    assert not taken
    assert "recording" in problem
    assert time.monotonic() - begun_s < 2


def test_a_file_system_that_does_not_answer_is_told_in_time(tmp_path, monkeypatch):
    video, answered = write_video(tmp_path / "a.mp4"), threading.Event()
    state = video.stat()
    monkeypatch.setattr(_helper_thread.os, "stat", lambda path: answered.wait(10) and state)
    taken, problem = pictures(source_of(video, open_timeout_s=0.2))
    answered.set()
    time.sleep(0.1)  # so that its thread ends within the test
    assert not taken
    assert "did not answer within 0.2 s: check the mount" in problem


def test_damage_is_for_good_and_another_failure_resumes_once(tmp_path):
    video = write_video(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 9 // 10])
    with (
        pytest.raises(SourceEndedError),
        source_of(video).connect(threading.Event()) as captures,
    ):
        list(captures)


def test_a_picture_that_theora_repeats_is_no_damage(tmp_path):
    path = tmp_path / "a.ogv"
    try:
        write_video(path, frames=8, codec="libtheora")
    except (av.error.EncoderNotFoundError, ValueError):
        pytest.skip("this FFmpeg has no Theora encoder")
    assert pictures(source_of(path))[1] == ""


def test_concatenated_transport_streams_are_not_damaged(tmp_path):
    first = write_video(tmp_path / "a.ts", 20, options={"bf": "0"})
    second = write_video(tmp_path / "b.ts", 20, options={"bf": "0"})
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    taken, problem = pictures(source_of(both))
    assert len(taken) >= 39
    assert problem == ""


def test_stopping_interrupts_a_pause(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=3, fps=1)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with source_of(video, every_frame=False, speed=0.3).connect(stop) as captures:
        assert len(list(captures)) <= 1  # the first one is due at once


def test_a_loop_begins_again(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=4)
    taken, _ = pictures(source_of(video, loop=True), most=10)
    grey = [int(to_rgb(picture)[100, 80, 0]) for picture in taken]
    assert grey[:4] == grey[4:8]
    assert len(set(grey[:4])) == 4


def test_a_loop_holds_its_file_open_once(tmp_path):
    """A decoder holds many pictures: a second one would double what a camera takes."""
    video = write_video(tmp_path / "v.mp4", frames=4)
    folder = Path("/proc/self/fd")
    opened = []
    with source_of(video, loop=True).connect(threading.Event()) as captures:
        for _ in itertools.islice(captures, 10):
            links = [link.readlink() for link in folder.iterdir() if link.is_symlink()]
            opened.append(links.count(video))
    assert opened == [1] * 10


def test_another_picture_size_begins_an_epoch_and_loses_no_frame(tmp_path):
    small = write_video(tmp_path / "small.h264", 6)
    large = write_video(tmp_path / "large.h264", 7, size_wh=(320, 240))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    source = source_of(both)
    first, problem = pictures(source)
    assert "picture size changed to (320, 240)" in problem
    second, problem = pictures(source)
    assert not problem
    assert [len(first), len(second)] == [6, 7]
    assert second[0].size_wh == (320, 240)


def test_garbage_between_good_pictures_is_counted_and_survived(tmp_path):
    video = write_video(tmp_path / "a.h264", frames=40, options={"g": "10"})
    rng = np.random.default_rng(0)
    units = video.read_bytes().split(b"\0\0\1")
    for row in range(12, 20):
        units[row] = units[row][:1] + rng.bytes(len(units[row]) + 200).replace(b"\0\0", b"\1\1")
    video.write_bytes(b"\0\0\1".join(units))
    taken, problem = pictures(source_of(video))
    assert len(taken) >= 15
    assert problem.startswith(f"{video} is damaged: ")
    assert "is damaged: " in pictures(source_of(video, every_frame=False, speed=1000))[1]


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_never_crashes_or_hangs(tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = np.frombuffer(write_video(tmp_path / "a.h264", 20).read_bytes(), np.uint8).copy()
    where = rng.integers(0, len(data), 200)
    data[where] = rng.integers(0, 256, 200)
    (tmp_path / "a.h264").write_bytes(data.tobytes())
    taken, problem = pictures(source_of(tmp_path / "a.h264"))
    assert len(taken) <= 40
    assert not problem or "a.h264" in problem


def test_a_truncated_video_yields_its_beginning_then_is_named(tmp_path):
    video = write_video(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 9 // 10])
    taken, problem = pictures(source_of(video))
    assert 0 < len(taken) < 60
    assert problem.startswith(f"{video} is damaged")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "Invalid data"),
        (b"hello world\n" * 50, "Invalid data"),
        (b"\xff" * 5000, "Invalid data"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, says):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    taken, problem = pictures(source_of(path))
    assert taken == []
    assert problem.startswith(f"{path}: ")
    assert says in problem


def test_a_folder_is_no_video(tmp_path):
    assert "Is a directory" in pictures(source_of(tmp_path))[1]


def test_a_playlist_on_disk_calls_nobody(tmp_path):
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n")
    taken, problem = pictures(source_of(playlist))
    assert taken == []
    assert problem


def test_a_hardware_decoder_that_is_not_there_is_named(tmp_path):
    video = write_video(tmp_path / "a.mp4")
    taken, problem = pictures(source_of(video, hwaccel="cuda"))
    assert len(taken) == 10 or problem.startswith(f"{video} with hwaccel cuda: ")
