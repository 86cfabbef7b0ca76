"""Recordings: an index or a video that was changed is refused, repaired or read."""

import contextlib
import sqlite3

import pytest
from hypothesis import strategies as st

from edge.errors import StorageError
from edge.recording.index import Index
from edge.recording.mp4 import Part, finish, join, repair
from edge.recording.records import EventFilter, FileKind, StoredFile
from tests.edge.recording.test_mp4 import write_mp4
from tests.support.fuzzing import expect, fuzz, mutate
from tests.support.videos import encode_packets
from tests.support.web_node import make_event

COLUMNS = (
    "events.body", "events.severity", "events.began_s", "events.ended_s", "events.seen",
    "files.kind", "files.camera", "files.event", "files.began_s", "files.ended_s",
    "files.size_bytes",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index of three events."""
    path = tmp_path_factory.mktemp("index") / "index.db"
    index = Index(path)
    for number in range(3):
        event = make_event(number)
        index.put_event(event)
        index.put_file(
            StoredFile(f"{number}.mp4", FileKind.CLIP, "door", event.event_id, 1000.0, 1003.0, 9)
        )
    index.close()
    return path


def look_through(path):
    with contextlib.closing(Index(path)) as index:
        index.check()
        index.find_events(EventFilter(), 10)
        index.find_video("door", 0.0, 2000.0)
        index.list_open_events()
        index.list_people()
        index.list_files("e00001")
        index.sum_bytes()


@fuzz(80, edit=mutate([bytes(64)]), at=st.floats(0, 1, exclude_max=True), size=st.integers(0, 64))
def test_an_index_with_changed_bytes(whole, tmp_path, edit, at, size):
    path = tmp_path / "index.db"
    for old in tmp_path.glob("index.db*"):
        old.unlink()
    content = whole.read_bytes()
    begin = int(at * len(content))
    path.write_bytes(content[:begin] + edit[:64] + content[begin + size :])
    with expect(StorageError):
        look_through(path)


@fuzz(
    80,
    column=st.sampled_from(COLUMNS),
    value=st.one_of(mutate([b'{"id":"e1"}', b"1.0"]), st.integers(-(2**63), 2**63 - 1), st.text()),
)
def test_an_index_with_changed_columns(whole, tmp_path, column, value):
    path = tmp_path / "index.db"
    for old in tmp_path.glob("index.db*"):
        old.unlink()
    path.write_bytes(whole.read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        text = value if not isinstance(value, str) else value.encode(errors="replace").decode()
        table, name = column.split(".")
        connection.execute(f"UPDATE {table} SET {name} = ?", (text,))
    with expect(StorageError):
        look_through(path)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A small video in fragments, as it is while it is written."""
    packets = encode_packets("libx264", count=20, size=(64, 48), g="5", bf="0")
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_mp4(path, packets)
    return path


@fuzz(60, edit=mutate([b"moov", b"\0\0\0\1mdat", b"moof"]), at=st.floats(0, 1, exclude_max=True))
def test_a_video_with_changed_bytes(video, tmp_path, edit, at):
    content = video.read_bytes()
    begin = int(at * len(content))
    path = tmp_path / "a.mp4"
    path.write_bytes(content[:begin] + edit[:64] + content[begin + len(edit[:64]) :])
    with expect(StorageError):
        repair(path)
    with expect(StorageError):
        join([Part(path, 0.0)], tmp_path / "b.mp4")
    with expect(StorageError):
        finish(path)
