"""`edge people why`: it listens to a real socket and says what a face lacks."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.wire.schema import Message, TrackedObject, decode
from tests.support.counting_sink import build

GOLDEN = Path(__file__).parents[2] / "golden"
FACE = msgspec.structs.replace(
    decode("v1/recent/door/", (GOLDEN / "recent.json").read_bytes()).face, track=7
)
GONE = msgspec.structs.replace(FACE, track=5)


TRACKS = """there is no face of track 8: the tracks with a face are
TRACK  CAMERA  OUTCOME
7      door    undecided
5      door    undecided  has left
"""


def detections(seq, faces=(), objects=()):
    body = decode("v1/detections/door/", (GOLDEN / "detections.json").read_bytes())
    fields = {"seq": seq, "objects": objects, "faces": faces}
    return Message("v1/detections/door/", msgspec.structs.replace(body, **fields))


@contextmanager
def node():
    """A node where face 5 has left, face 7 is in view, and object 9 shows no face."""
    sink, stop = build(), threading.Event()
    person = TrackedObject(track=9, label="person", score=0.9, box=(0, 0, 9, 9), zones=())

    def talk():
        seq = 1
        sink.send([detections(seq, faces=(GONE,))])
        while not stop.wait(0.05):
            seq += 1
            sink.send([detections(seq, faces=(FACE,), objects=(person,))])

    with sink.open():
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield sink.endpoint
        finally:
            stop.set()
            thread.join()


def why(endpoint, *arguments):
    command = ["people", "why", *arguments, "--bus", endpoint, "--wait", "2"]
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, command)


def test_a_face_in_view_says_what_it_lacks():
    with node() as endpoint:
        result = why(endpoint, "7")
        as_json = json.loads(why(endpoint, "7", "--camera", "door", "--json").stdout)
    assert result.exit_code == 0, result.output
    for text in ("door, track 7, in view", "0.61 (0.45 needed)", "screen -0.7", "2 of 4 agreeing"):
        assert text in result.stdout
    assert [lack["what"] for lack in as_json["missing"]] == ["size", "pose", "liveness", "votes"]
    assert (as_json["camera"], as_json["track"], as_json["present"]) == ("door", 7, True)


def test_a_face_that_has_left_is_still_explained():
    with node() as endpoint:
        result = why(endpoint, "5", "--json")
    assert json.loads(result.stdout)["present"] is False
    assert json.loads(result.stdout)["face"]["reason_code"] == "liveness_uncertain"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["8"], TRACKS),
        (["9"], "track 9 is a person in view in whom no face is found"),
        (["7", "--camera", "yard"], "has no camera 'yard': the ones that deliver are door"),
    ],
)  # fmt: skip
def test_a_track_without_a_face_names_those_that_have_one(arguments, words):
    with node() as endpoint:
        result = why(endpoint, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_silent_address_is_one_clear_message():
    result = why("tcp://127.0.0.1:9", "7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("root people: no messages from tcp://127.0.0.1:9 within 2 s")


@pytest.mark.parametrize("track", ["door", "7.5", "0x7"])
def test_a_track_that_is_no_number_is_told_so(track):
    result = why("tcp://127.0.0.1:9", track)
    assert result.exit_code == 2
    assert "must be a whole number, as `track` in the messages" in result.stderr


def test_ctrl_c_while_it_waits_is_status_130():
    sink = build()
    with sink.open():
        command = [sys.executable, "-m", "edge", "people", "why", "7", "--wait", "60"]
        process = subprocess.Popen(
            [*command, "--bus", sink.endpoint],
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            deadline_s = time.monotonic() + 30
            while not sink.subscribed[b"v1/recent/"]:
                sink.send([detections(1)])  # subscriptions are read while sending
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, errors) == (130, b"")
