"""A Unix socket's name: only a socket that nobody listens on is ever removed."""

import os
import socket
import stat

import pytest

from edge.errors import SinkError
from edge.sinks import zeromq
from edge.wire.listener import listen


def _write(path):
    path.write_text("keep me")


def _link(path):
    path.with_name("target").write_text("keep me")
    path.symlink_to("target")


def _leave_socket(path):
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


@pytest.mark.parametrize(
    "make", [_write, _link, os.mkfifo, os.mkdir], ids=["file", "link", "pipe", "folder"]
)
def test_what_is_no_socket_stays_and_is_refused(make, tmp_path):
    path = tmp_path / "bus"
    make(path)
    before = path.lstat()
    sink = zeromq.build(zeromq.Options(bind=f"ipc://{path}"))
    with pytest.raises(SinkError, match="something else than a socket"), sink.open():
        pass
    assert os.path.samestat(before, path.lstat())


def test_a_socket_that_nobody_listens_on_makes_room(tmp_path):
    path = tmp_path / "bus"
    _leave_socket(path)
    with listen(f"ipc://{path}"):
        assert stat.S_ISSOCK(path.lstat().st_mode)
        with pytest.raises(OSError, match="in use"), listen(f"ipc://{path}"):
            pass
    assert not path.exists()


@pytest.mark.parametrize("make", [_write, _leave_socket], ids=["file", "another socket"])
def test_what_took_the_name_meanwhile_stays(make, tmp_path):
    path = tmp_path / "bus"
    with listen(f"ipc://{path}"):
        path.rename(tmp_path / "moved")
        make(path)
        taken = path.lstat()
    assert os.path.samestat(taken, path.lstat())
