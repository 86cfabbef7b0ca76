"""What 3.10 lacks is the same there as later."""

import hashlib
import io
import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from edge import compat


class Fruit(compat.StrEnum):
    APPLE = "apple"


@pytest.mark.parametrize(
    "text",
    [
        str(Fruit.APPLE),
        f"{Fruit.APPLE}",
        format(Fruit.APPLE),
        f"{Fruit.APPLE!s}",
        "".join([Fruit.APPLE]),
    ],
)
def test_a_member_prints_as_its_value(text):
    assert text == "apple"


def test_a_member_is_its_value():
    assert Fruit.APPLE == "apple"
    assert f"{Fruit.APPLE:>7}" == "  apple"
    assert json.dumps({Fruit.APPLE: Fruit.APPLE}) == '{"apple": "apple"}'
    assert {"apple": 1}[Fruit.APPLE] == 1
    assert Fruit("apple") is Fruit.APPLE
    assert repr(Fruit.APPLE) == "<Fruit.APPLE: 'apple'>"


def test_utc_has_no_offset():
    assert datetime.fromtimestamp(0, compat.UTC).utcoffset() == timedelta(0)
    assert datetime.fromtimestamp(0, compat.UTC).isoformat() == "1970-01-01T00:00:00+00:00"


def test_the_digest_of_a_file_is_that_of_its_bytes():
    content = bytes(range(256)) * 4096
    digest = compat.file_digest(io.BytesIO(content), "sha256")
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


def test_toml_is_read():
    assert compat.tomllib.loads("a = 1") == {"a": 1}
    with pytest.raises(compat.tomllib.TOMLDecodeError):
        compat.tomllib.loads("a = ")


def run(file, *statements, **options):
    with closing(sqlite3.connect(file, **options)) as connection:
        for statement in statements:
            connection.execute(statement)


def write_to_a_full_database(folder):
    full = "INSERT INTO t VALUES (zeroblob(100000))"
    run(folder / "full.db", "PRAGMA max_page_count = 2", "CREATE TABLE t (x)", full)


def write_to_a_locked_database(folder):
    with closing(sqlite3.connect(folder / "locked.db")) as first:
        first.execute("BEGIN EXCLUSIVE")
        run(folder / "locked.db", "CREATE TABLE t (x)", timeout=0)


def write_to_a_read_only_database(folder):
    run(folder / "read.db", "CREATE TABLE t (x)")
    run(f"file:{folder / 'read.db'}?mode=ro", "INSERT INTO t VALUES (1)", uri=True)


def open_a_database_in_no_folder(folder):
    run(folder / "nowhere" / "a.db")


def read_what_is_no_database(folder):
    (folder / "text.db").write_bytes(b"This is no database. " * 100)
    run(folder / "text.db", "SELECT * FROM sqlite_master")


def read_a_damaged_database(folder):
    run(folder / "damaged.db", "CREATE TABLE t (x)")
    content = (folder / "damaged.db").read_bytes()
    (folder / "damaged.db").write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    run(folder / "damaged.db", "SELECT * FROM t")


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        (write_to_a_full_database, compat.SQLITE_FULL),
        (write_to_a_locked_database, compat.SQLITE_BUSY),
        (write_to_a_read_only_database, compat.SQLITE_READONLY),
        (open_a_database_in_no_folder, compat.SQLITE_CANTOPEN),
        (read_what_is_no_database, compat.SQLITE_NOTADB),
        (read_a_damaged_database, compat.SQLITE_CORRUPT),
    ],
)
def test_an_error_of_sqlite_has_its_code_with_and_without_the_attribute(fail, code, tmp_path):
    with pytest.raises(sqlite3.DatabaseError) as raised:
        fail(tmp_path)
    assert compat.sqlite_error_code(raised.value) == code
    assert compat.sqlite_error_code(type(raised.value)(str(raised.value))) == code


def test_another_error_has_no_code_of_sqlite():
    assert compat.sqlite_error_code(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")) == 0
    assert compat.sqlite_error_code(sqlite3.OperationalError("no such table: t")) == 0
