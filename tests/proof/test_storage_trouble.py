"""Whatever the disk does, detection goes on as before, and what is wrong is said once.

A whole node with two cameras of 4 Mbit/s of which everything is kept. Prints rates and ages beside
those of a healthy disk, and how long it takes until recording goes on.
"""

import contextlib
import subprocess
import sys
import time

import pytest

from tests.support.counted_films import write_film
from tests.support.recording_node import CAMERA, hear, read_rows, recording_node
from tests.support.rtsp_server import rtsp_server
from tests.support.small_disk import Scale, filled, small_disk, wait_until

SECONDS = 25
MAX_BYTES, DISK_BYTES = 40_000_000, 130_000_000
SEGMENT_BYTES = 60 * 500_000 * 1.2  # a minute of 4 Mbit/s
SHORT_SEGMENT_BYTES = 2 * 500_000 * 1.2
TOPIC = "v1/detections/"


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """Two cameras, with events every eight seconds."""
    folder = tmp_path_factory.mktemp("films")
    sub = write_film(folder / "sub.mp4", (640, 360), 20, 20, bit_rate=500_000)
    main = write_film(folder / "main.mp4", (1280, 720), 25, 50, bit_rate=4_000_000)
    with contextlib.ExitStack() as stack:
        text = ""
        for name in "ab":
            one, two = (stack.enter_context(rtsp_server(film)).url for film in (sub, main))
            text += CAMERA.format(name=name, sub=one, main=two, pre_s=3, post_s=2)
        yield text


def count_events(folder):
    return read_rows(folder, "SELECT count(*) FROM events")[0][0]


def last_video(folder):
    return read_rows(folder, "SELECT max(began_s) FROM files WHERE kind = 'continuous'")[0][0]


def compare(name, healthy, sick):
    print(
        f"\n{name}: {sick.per_s:.2f} messages a second beside {healthy.per_s:.2f}, p99 age "
        f"{sick.p99_ms:.0f} ms beside {healthy.p99_ms:.0f} ms"
    )


def said(node):
    return [line for line in node.log.splitlines() if " storage" in line or "events" in line]


@pytest.mark.proof
def test_what_is_kept_never_takes_more_than_its_bytes_and_a_segment(tmp_path, keep):
    film = write_film(tmp_path / "film.mp4", (1280, 720), 25, 25, bit_rate=4_000_000)
    max_bytes = 60_000_000
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk, subprocess.Popen(
        [sys.executable, "-m", "tests.support.archiving", film, disk / "kept", str(max_bytes)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "open\n"
        with Scale(disk / "kept") as scale:
            time.sleep(4 * SECONDS)
        process.kill()
        assert process.stdout.read() == ""
    print(f"\n{scale.most / 1e6:.1f} MB at most of {max_bytes / 1e6:.0f} in {scale.count} looks")
    assert 0.5 * max_bytes < scale.most
    keep("bytes", (scale.most - max_bytes) / SHORT_SEGMENT_BYTES)


@pytest.mark.proof
def test_a_full_disk_disturbs_nothing_and_recording_goes_on_when_there_is_room(
    tmp_path, cameras, keep
):
    with (
        small_disk(tmp_path / "disk", DISK_BYTES) as disk,
        recording_node(tmp_path, cameras, disk / "kept", MAX_BYTES) as node,
        node.listen(TOPIC) as subscriber,
        Scale(disk / "kept") as scale,
    ):
        hear(subscriber, 5)
        healthy = hear(subscriber, SECONDS)
        assert node.metric("edge_storage_up") == 1
        with filled(disk):
            sick = hear(subscriber, SECONDS)
            assert node.metric("edge_storage_up") == 0
            assert "full" in str(node.health()["problems"]) or "No space" in str(node.health())
        before_s = last_video(disk / "kept")
        took_s = wait_until(lambda: node.metric("edge_storage_up") == 1)
        wait_until(lambda: last_video(disk / "kept") > before_s)
        again = hear(subscriber, SECONDS)
        compare("full", healthy, sick)
        keep("full disk", sick.per_s / healthy.per_s)
        compare("after", healthy, again)
        print(
            f"back after {took_s:.1f} s; {scale.most / 1e6:.1f} MB at most in {scale.count} looks"
        )
        print("\n".join(said(node)))
        assert scale.most <= MAX_BYTES + 2 * SEGMENT_BYTES
        assert len([line for line in said(node) if "warning storage: " in line]) == 1
