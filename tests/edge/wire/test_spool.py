"""What a spool says of a file that is damaged; how it delivers is tested with its sink."""

import contextlib
import sqlite3

import pytest

from edge.errors import SinkError
from edge.wire.spool import Batch, Spool


@pytest.mark.parametrize(
    ("column", "value"), [("put_s", b""), ("messages", b""), ("content", 0), ("subject", b"x")]
)
def test_batches_of_the_wrong_types_are_refused_with_a_remedy(column, value, tmp_path):
    path = tmp_path / "spool.db"
    spool = Spool(path, 1 << 20, 3600)
    spool.append([Batch("edge.v1", "m1", b"content", 1)], 1000.0)
    spool.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE batches SET {column} = ?", (value,))
    with pytest.raises(SinkError, match="if it is damaged, move it away"):
        Spool(path, 1 << 20, 3600)
