import contextlib
import json
import os
import resource
import socket
from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.sinks import jsonl
from edge.wire.schema import Message, decode

GOLDEN = Path(__file__).parents[2] / "golden"
TOPIC = "v1/status/door/"
STATUS = Message(TOPIC, decode(TOPIC, (GOLDEN / "status.json").read_bytes()))
LINE = {"topic": TOPIC} | json.loads((GOLDEN / "status.json").read_text())
LINE_BYTES = len(json.dumps(LINE, separators=(",", ":"))) + 1


def sink_of(path, **options):
    return jsonl.build(jsonl.Options(path=str(path), **options))


def lines(path):
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def room_for(size_bytes):
    """No file can grow beyond it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_message_is_a_line_with_its_topic(tmp_path):
    sink = sink_of(tmp_path / "out.jsonl")
    with sink.open():
        sink.send([STATUS, STATUS])
        sink.idle()
        assert lines(tmp_path / "out.jsonl") == [LINE, LINE], "readable while it is open"


def test_a_file_is_appended_to(tmp_path):
    for _ in range(2):
        sink = sink_of(tmp_path / "out.jsonl")
        with sink.open():
            sink.send([STATUS])
    assert lines(tmp_path / "out.jsonl") == [LINE, LINE]


def test_a_line_cut_by_a_crash_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text('{"topic": "v1/sta')
    sink = sink_of(path)
    with sink.open():
        sink.send([STATUS])
    assert json.loads(path.read_text().splitlines()[1]) == LINE


def test_standard_output_stays_open_afterwards(capfdbinary):
    for _ in range(2):
        sink = sink_of("-")
        with sink.open():
            sink.send([STATUS])
    assert [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()] == [LINE] * 2


def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path):
    sink = sink_of(tmp_path / "out.jsonl", rotate_bytes=2 * LINE_BYTES, keep=2)
    with sink.open():
        for _ in range(9):
            sink.send([STATUS])
    counts = {path.name: len(lines(path)) for path in tmp_path.iterdir()}
    assert counts == {"out.jsonl": 1, "out.jsonl.1": 2, "out.jsonl.2": 2}


def test_a_batch_larger_than_a_file_is_not_cut(tmp_path):
    sink = sink_of(tmp_path / "out.jsonl", rotate_bytes=1, keep=1)
    with sink.open():
        sink.send([STATUS] * 5)
        sink.send([STATUS])
    assert len(lines(tmp_path / "out.jsonl.1")) == 5


def test_a_full_disk_is_told_and_the_sink_goes_on_once_there_is_room(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = sink_of(path)
    with (
        pytest.raises(SinkError, match=r"cannot write .*out\.jsonl: .*: free space"),
        sink.open(),
        room_for(LINE_BYTES * 5 // 2),  # two lines and a half
    ):
        sink.send([STATUS] * 10)
    assert len(lines(path)) == 2, "no half line stays behind"
    with sink.open():
        sink.send([STATUS])
    assert len(lines(path)) == 3


def bind_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, bind_socket]
    + [
        lambda path, target=target: path.symlink_to(target)
        for target in ("/dev/full", "/proc/self/comm", "/proc/self/none", "/sys/x")
    ],
    ids=["pipe", "socket", "device", "proc", "new in proc", "sys"],
)
def test_what_is_no_regular_file_is_refused_and_stays(make, tmp_path):
    path = tmp_path / "out.jsonl"
    make(path)
    before = path.lstat()
    for _ in range(2):
        with pytest.raises(SinkError, match="regular one"), sink_of(path).open():
            pass
    assert os.path.samestat(before, path.lstat())


def test_no_pipe_is_replaced_by_an_old_file(tmp_path):
    path = tmp_path / "out.jsonl"
    os.mkfifo(tmp_path / "out.jsonl.1")
    sink = sink_of(path, rotate_bytes=LINE_BYTES, keep=1)
    with sink.open():
        sink.send([STATUS])
        with pytest.raises(SinkError, match="regular one"):
            sink.send([STATUS])
    assert (tmp_path / "out.jsonl.1").is_fifo()


@pytest.mark.parametrize("before", [None, ""], ids=["none", "an empty one"])
def test_opening_and_closing_changes_no_files(before, tmp_path):
    path = tmp_path / "out.jsonl"
    if before is not None:
        path.write_text(before)
    with sink_of(path).open():
        pass
    assert path.exists() == (before is not None)


def test_a_folder_that_is_not_there_is_a_sink_error(tmp_path):
    sink = sink_of(tmp_path / "nowhere" / "out.jsonl")
    with pytest.raises(SinkError, match=r"cannot open .*nowhere"), sink.open():
        pass
