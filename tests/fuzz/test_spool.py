"""The spool of a sink: a file that was changed is refused, or gives what waits."""

import contextlib
import sqlite3

import pytest
from hypothesis import strategies as st

from edge.errors import SinkError
from edge.wire.spool import Batch, Spool
from tests.support.fuzzing import expect, fuzz, mutate


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A spool of three batches."""
    path = tmp_path_factory.mktemp("spool") / "spool.db"
    spool = Spool(path, 1 << 20, 3600)
    spool.append([Batch("edge.v1", f"m{n}", b"content", 2) for n in range(3)], 1000.0)
    spool.close()
    return path


def use(path):
    with contextlib.closing(Spool(path, 1 << 20, 3600)) as spool:
        spool.append([Batch("edge.v1", "new", b"content", 1)], 1001.0)
        batches = spool.read(10)
        spool.bind([batches])
        spool.remove(batches)
        spool.look()


def restore(folder, content):
    for old in folder.glob("spool.db*"):
        old.unlink()
    (folder / "spool.db").write_bytes(content)
    return folder / "spool.db"


@fuzz(100, edit=mutate([bytes(64)]), at=st.floats(0, 1, exclude_max=True), size=st.integers(0, 64))
def test_a_file_with_changed_bytes(whole, tmp_path, edit, at, size):
    content = whole.read_bytes()
    begin = int(at * len(content))
    path = restore(tmp_path, content[:begin] + edit[:64] + content[begin + size :])
    with expect(SinkError):
        use(path)


@fuzz(
    80,
    column=st.sampled_from(("subject", "message_id", "content", "messages", "put_s", "parcel")),
    value=st.one_of(st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1), st.text(max_size=9)),
)
def test_a_file_with_changed_columns(whole, tmp_path, column, value):
    path = restore(tmp_path, whole.read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        text = value if not isinstance(value, str) else value.encode(errors="replace").decode()
        connection.execute(f"UPDATE batches SET {column} = ?", (text,))
    with expect(SinkError):
        use(path)
