"""A recorder that is killed at any moment loses a second: RUNS times kill -9.

Prints how many files were open, and how much of them was lost, from their end to the kill.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.counted_films import write_film
from tests.support.kept_files import repair
from tests.support.recording_node import CAMERA, read_rows, recording_node
from tests.support.rtsp_server import rtsp_server
from tests.support.small_disk import wait_until
from tests.support.videos import write_video

RUNS = int(os.environ.get("RUNS", "100"))


def kill_once(film, folder, rng):
    """Kill an archivist at a random moment; the Unix time of that."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.archiving", film, folder, str(30_000_000)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "open\n"
            time.sleep(rng.uniform(0, 3))
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            killed_s = time.time()
    return killed_s


def kill_often(folder, runs, seed=1):
    """How much was lost of what was open, seconds by file."""
    film = write_video(
        folder / "film.mp4", 100, fps=25, size_wh=(320, 240), options={"g": "25", "bf": "0"}
    )
    rng, cut_s, lost_s, checked = random.Random(seed), [], [], frozenset()
    for _ in range(runs):
        killed_s = kill_once(film, folder / "kept", rng)
        repaired, checked = repair(folder / "kept", checked)
        cut_s += [killed_s - end_s for end_s in repaired.saved_s]
        lost_s += [killed_s - began_s for began_s in repaired.lost_s]
    print(
        f"\n{runs} kills, {len(cut_s)} files repaired that lack {max(cut_s):.2f} s at most, "
        f"{len(lost_s)} of {max(lost_s, default=0):.2f} s at most lost, {len(checked)} at the end"
    )
    return [*cut_s, *lost_s]


@pytest.mark.proof
def test_a_kill_costs_a_fragment_and_nothing_else(tmp_path, keep):
    keep("kill", max(kill_often(tmp_path, RUNS)))


@pytest.mark.proof
def test_a_kill_of_the_whole_daemon_costs_no_more(tmp_path, keep):
    sub = write_film(tmp_path / "sub.mp4", (640, 360), 20, 20, bit_rate=500_000)
    main = write_film(tmp_path / "main.mp4", (1280, 720), 25, 50, bit_rate=4_000_000)
    rng, lost_s, checked = random.Random(1), [], frozenset()
    with rtsp_server(sub) as one, rtsp_server(main) as two:
        camera = CAMERA.format(name="c", sub=one.url, main=two.url, pre_s=3, post_s=2)
        for _ in range(max(RUNS // 20, 1)):
            with recording_node(tmp_path, camera) as node:
                wait_until(lambda: read_rows(tmp_path / "kept", "SELECT * FROM files"))
                time.sleep(rng.uniform(2, 14))
                node.process.kill()
                killed_s = time.time()
                node.process.wait()
            repaired, checked = repair(tmp_path / "kept", checked)
            lost_s += [killed_s - end_s for end_s in repaired.saved_s]
    print(f"\n{len(lost_s)} files repaired that lack {max(lost_s):.2f} s at most")
    assert len(checked) > len(lost_s)
    keep("kill daemon", max(lost_s))
