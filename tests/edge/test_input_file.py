"""Input files are regular, bounded, and there at once."""

import io
import os

import pytest

from edge.input_file import read_input


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused(make, tmp_path):
    make(tmp_path / "odd")
    with pytest.raises(OSError, match="no regular file"):
        read_input(tmp_path / "odd", 10)


def test_a_file_that_has_nothing_to_read_yet_is_refused(tmp_path, monkeypatch):
    """As /proc/kmsg, which says that it is regular."""

    class Later(io.BytesIO):
        def read(self, size=-1):
            return None

    (tmp_path / "log").write_bytes(b"")
    monkeypatch.setattr("edge.input_file.os.fdopen", lambda fd, mode: os.close(fd) or Later())
    monkeypatch.setattr("edge.input_file.os.fstat", lambda _: (tmp_path / "log").stat())
    with pytest.raises(OSError, match="no regular file"):
        read_input(tmp_path / "log", 10)


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_input(tmp_path / "file", 10) == b"0123456789"
    with pytest.raises(OSError, match="larger than"):
        read_input(tmp_path / "file", 9)
