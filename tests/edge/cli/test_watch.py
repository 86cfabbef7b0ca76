import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from edge.cli.watch import Board, line
from edge.client import Gap, Received, Restarted
from edge.wire.schema import Message, decode
from tests.support.counting_sink import build

GOLDEN = Path(__file__).parents[2] / "golden"
RUN = [sys.executable, "-c", "import typer; from edge.cli.watch import watch; typer.run(watch)"]
PATIENCE_S = 20


def received(family, **fields):
    topic = f"v1/{family}/door/"
    body = decode(topic, (GOLDEN / f"{family}.json").read_bytes())
    return Received(topic, msgspec.structs.replace(body, **fields))


def drawn(board, now_s=0.0, **options):
    out = io.StringIO()
    Console(file=out, width=160).print(board.table(now_s, **options))
    return out.getvalue()


def test_a_camera_is_a_row_with_what_it_saw():
    board = Board("tcp://here")
    board.update(received("status", state="online"), 0)
    for n in range(11):
        board.update(received("detections", age_s=0.042), n / 10)
    board.update(Gap("v1/detections/door/", 5, 8, 3), 1)
    board.update(Restarted("gate-1", "a", "b"), 1)
    text = drawn(board, 1.0)
    for cell in ("tcp://here", "door", "online", "10.0", "42", "1 person, 1 dog", "3"):
        assert cell in text


def test_a_camera_that_is_not_online_says_why():
    board = Board("tcp://here")
    board.update(received("status", state="offline", reason="no route [/red]"), 0)
    assert "offline: no route [/red]" in drawn(board), "what a node says is no markup"


def test_several_of_a_kind_are_a_plural():
    board = Board("tcp://here")
    message = received("detections")
    person = message.body.objects[0]
    body = msgspec.structs.replace(message.body, objects=[person] * 5)
    board.update(Received(message.topic, body), 0)
    assert "5 persons" in drawn(board)


def test_what_a_node_says_cannot_steer_the_terminal():
    board = Board("tcp://here\x1b[2J")
    board.update(received("status", state="off\x1b[31mline", reason="\x9b2Jgone"), 0)
    text = drawn(board)
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert r"off\x1b[31mline: \x9b2Jgone" in text


def test_the_rate_falls_to_zero_when_nothing_comes():
    board = Board("tcp://here")
    for n in range(11):
        board.update(received("detections"), n / 10)
    assert "10.0" in drawn(board, 1.0)
    assert "0.0" in drawn(board, 60.0)


def test_silence_is_said():
    assert "no messages from tcp://here" in drawn(Board("tcp://here"), silent=True)
    assert "nobody" not in drawn(Board("tcp://here"))


@pytest.mark.parametrize(
    ("item", "want"),
    [
        (Gap("v1/a/b/", 2, 4, 2), {"topic": "v1/a/b/", "expected": 2, "got": 4, "missed": 2}),
        (Restarted("n", "a", "b"), {"node": "n", "before": "a", "boot": "b"}),
    ],
)
def test_what_is_no_message_is_a_line_of_its_own_kind(item, want):
    [(kind, said)] = json.loads(line(item)).items()
    assert kind == type(item).__name__.lower()
    assert said == want


@contextlib.contextmanager
def running(*options):
    """`edge watch` beside a sink that the test drives."""
    sink = build()
    with sink.open():
        process = subprocess.Popen(
            [*RUN, sink.endpoint, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # a shell's background jobs ignore Ctrl-C, and so would what they start
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            yield sink, process
        finally:
            process.kill()
            process.communicate()


def talk_until(sink, true):
    deadline_s = time.monotonic() + PATIENCE_S
    item = received("status")
    while not true():
        sink.send([Message(item.topic, item.body)])
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_json_is_one_message_a_line_and_ends_when_its_reader_has_gone():
    with running("--json") as (sink, process):
        talk_until(sink, lambda: sink.subscribed[b"v1/"])
        sink.send([Message("v1/status/door/", received("status").body)])
        assert json.loads(process.stdout.readline())["topic"] == "v1/status/door/"
        process.stdout.close()
        talk_until(sink, lambda: process.poll() is not None)
        assert (process.returncode, process.stderr.read()) == (0, b"")
        process.stdout = None


@pytest.mark.parametrize("options", [["--json"], []])
def test_ctrl_c_is_a_clean_end(options):
    with running(*options) as (sink, process):
        talk_until(sink, lambda: sink.subscribed[b"v1/"])
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, b"")
        assert shown.endswith(b"\n"), "the last line is a whole one, in a pipe too"
        assert not shown.endswith(b"\n\n")


def test_silence_is_said_instead_of_hanging_mutely():
    with running("--json") as (sink, process):
        assert b"no messages from " + sink.endpoint.encode() in process.stderr.readline()
