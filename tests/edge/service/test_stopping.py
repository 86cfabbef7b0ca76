"""The end of a real process: status 0 though a camera hangs in a library, and at any moment."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.faulty_camera import faulty_camera
from tests.support.node import CONFIG, running_node, stop_once


@pytest.mark.slow
def test_a_camera_that_never_answers_does_not_crash_the_end(tmp_path):
    for _ in range(4):
        code, _ = stop_once("mute", tmp_path, wait_s=1, count=6)
        assert code == 0


@pytest.mark.slow
def test_a_reload_while_it_starts_is_not_the_end(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(cameras=""))
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", str(path)], cwd=tmp_path,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        status = Path(f"/proc/{process.pid}/status")
        while not catches(status.read_text(), signal.SIGHUP):  # Python itself is loading
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        said = ""
        while "reloaded" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def catches(status, number):
    """Whether a process handles a signal, by its /proc/PID/status."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)[1]
    return int(caught, 16) >> (number - 1) & 1


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [1.0, 1.5, 2.0, 2.5])
def test_a_stop_while_it_starts_is_clean(tmp_path, after_s):
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(cameras=""))
    process = subprocess.Popen([sys.executable, "-m", "edge", "run", str(path)], cwd=tmp_path)
    try:
        time.sleep(after_s)
        process.send_signal(signal.SIGTERM)
        # by the signal itself as long as Python is loading, which systemd takes for a clean end
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_stop_during_a_reload_of_many_dead_cameras_ends_before_systemd_kills(tmp_path):
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(faulty_camera(kind, tmp_path)) for kind in ("mute", "stall")]
        cameras = "\n".join(
            f'[[cameras]]\nname = "dead-{number}"\nsource = {source}'
            for number, source in enumerate(sources * 40)
        )
        process, _ = stack.enter_context(running_node(tmp_path, cameras))
        path = tmp_path / "edge.toml"
        path.write_text(path.read_text().replace("/x", "/y"))
        time.sleep(2)
        process.send_signal(signal.SIGHUP)
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, "TimeoutStopSec of the unit"


@pytest.mark.slow
def test_ten_dead_cameras_do_not_delay_the_start(tmp_path):
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(faulty_camera("mute", tmp_path)) for _ in range(10)]
        cameras = "\n".join(
            f'[[cameras]]\nname = "dead-{number}"\nsource = {source}'
            for number, source in enumerate(sources)
        )
        process, _ = stack.enter_context(running_node(tmp_path, cameras))
        times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(times[11]) + int(times[12])
        spent_s = ticks / os.sysconf("SC_CLK_TCK")
    assert spent_s < 5, "processor time, which load does not change much"
