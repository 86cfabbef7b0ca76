"""Who is enrolled, called somebody's look-alike or forgotten is so in the running daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.client import Received, Subscriber
from tests.support.one_face import write_node

PATIENCE_S = 120  # for the daemon to start on a busy machine


@pytest.fixture
def place(tmp_path):
    """Models that see one face in everything, a camera of noise, a configuration, a key."""
    write_node(tmp_path, "edge.toml")
    return tmp_path


@pytest.fixture
def edge(place):
    """Run edge on the gallery of the daemon."""

    def run(*arguments):
        where = ["--gallery", f"{place}/gallery.db", "--key", f"{place}/key"]
        models = ["--embedder", f"{place}/embedder.onnx", "--faces", f"{place}/faces.onnx"]
        wanted = where if arguments[1] == "forget" else [*where, *models]
        result = CliRunner().invoke(app, [*map(str, arguments), *wanted])
        assert result.exit_code == 0, result.output

    CliRunner().invoke(app, ["keys", "new", f"{place}/key"])
    return run


@pytest.fixture
def daemon(place):
    """The daemon in a process of its own."""
    started = []

    def start():
        log = (place / "log").open("w")
        command = [sys.executable, "-m", "edge", "run", f"{place}/edge.toml"]
        started.append((subprocess.Popen(command, stderr=log, stdout=log), log))

    yield start
    for process, log in started:
        process.terminate()
        assert process.wait(20) == 0, (place / "log").read_text()
        log.close()


def until_named(subscriber, name, since_s, within_s=30.0):
    """Seconds from ``since_s`` (Unix) to the first picture in which the face has that name."""
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + within_s:
        item = subscriber.receive(0.1)
        faces = item.body.faces if isinstance(item, Received) else []
        if faces and item.body.captured_at >= since_s and (faces[0].name or "") == name:
            return item.body.published_at - since_s
    raise AssertionError(f"nobody was called {name!r} within {within_s} s")


def test_a_change_of_the_gallery_is_one_of_the_running_daemon(place, edge, daemon, tmp_path):
    with av.open(f"{place}/clip.mp4") as clip:
        rgb = next(clip.decode(video=0)).to_ndarray(format="bgr24")
    cv2.imwrite(f"{place}/ann.png", rgb)
    cv2.imwrite(f"{place}/other.png", (rgb * [0.4, 0.4, 1]).astype(np.uint8))  # redder
    edge("enroll", "Zoe", place / "other.png", "--consent")
    with Subscriber(f"ipc://{place}/bus", topics=("v1/detections/door/",)) as subscriber:
        daemon()
        until_named(subscriber, "", 0, PATIENCE_S)
        edge("enroll", "Ann", place / "ann.png", "--consent")
        print("enrolled:", until_named(subscriber, "Ann", time.time()))
        edge("people", "not", "Ann", place / "ann.png")  # the face itself is a look-alike now
        print("not Ann:", until_named(subscriber, "", time.time()))
        edge("enroll", "Ann", place / "ann.png", "--consent", "--replace")
        until_named(subscriber, "Ann", time.time())
        edge("people", "forget", "Ann", "--yes")
        print("forgotten:", until_named(subscriber, "", time.time()))


def test_edge_check_looks_into_the_gallery(place, edge):
    def check():
        result = CliRunner().invoke(app, ["check", f"{place}/edge.toml", "--json"])
        findings = [json.loads(line) for line in result.stdout.splitlines()]
        (gallery,) = (found for found in findings if found["part"] == "recognition.gallery")
        return gallery["works"], gallery["says"], result.exit_code

    works, says, code = check()
    assert (works, code) == (False, 78)
    assert "edge enroll" in says
    with av.open(f"{place}/clip.mp4") as clip:
        rgb = next(clip.decode(video=0)).to_ndarray(format="bgr24")
    cv2.imwrite(f"{place}/ann.png", rgb)
    edge("enroll", "Ann", place / "ann.png", "--consent")
    assert check() == (True, "1 person can be recognized", 0)
    text = (place / "edge.toml").read_text().replace('liveness = "live.onnx"', "liveness = false")
    (place / "edge.toml").write_text(text)
    works, says, code = check()
    assert (works, code) == (False, 78)
    assert "without recognition.liveness" in says
