"""`edge demo`: a source that cannot be shown ends it with a message and a documented status."""

import os
import socket
import subprocess
import sys

import pytest

RUN = [sys.executable, "-m", "edge", "demo", "--bind", "tcp://127.0.0.1:0"]


def demo(folder, *arguments):
    return subprocess.run(
        [*RUN, "--picture", str(folder / "demo.png"), *arguments],
        env={**os.environ, "COLUMNS": "60"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("seconds", ["0", "20"])
@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"# not a film\n", "not video")]
)
def test_a_file_that_cannot_be_played_is_refused_at_once(content, says, seconds, tmp_path):
    file = tmp_path / "film.mp4"
    if content:
        file.write_bytes(content)
    done = demo(tmp_path, str(file), "--seconds", seconds)
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert says in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dead_camera_is_status_1_and_named_with_its_trouble(tmp_path):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = demo(tmp_path, f"rtsp://127.0.0.1:{port}/door", "--seconds", "3")
    assert done.returncode == 1, done.stderr
    assert "no camera delivered a picture\ncamera-1: rtsp://127.0.0.1" in done.stderr
    assert "Connection refused" in done.stderr
    assert not (tmp_path / "demo.png").exists()


def test_the_address_to_watch_is_not_broken_at_60_columns(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    done = demo(tmp_path, "--seconds", "2", "--bind", endpoint)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[:2] == [f"publishing at {endpoint}", f"in another terminal: edge watch {endpoint}"]
