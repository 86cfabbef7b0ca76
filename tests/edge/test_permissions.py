"""The remedy for what may not be read or written names the user."""

import errno
import os
from importlib import import_module

import pytest
from typer.testing import CliRunner

from edge import config_file
from edge.cli import app
from edge.errors import ConfigError, GalleryError
from edge.people.gallery.encryption import create_key_file, load_key
from edge.permissions import choose_remedy

NOBODY = 65534


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, f"let user {os.geteuid()} write there (chown, chmod)"),
        (errno.EPERM, f"let user {os.geteuid()} write there (chown, chmod)"),
        (errno.EROFS, "mount something writable there"),
        (errno.ENOENT, "check the folder"),
    ],
)
def test_the_remedy_follows_from_the_error(number, remedy):
    error = OSError(number, os.strerror(number))
    assert choose_remedy(error, "write there", "check the folder") == remedy


@pytest.fixture
def closed(tmp_path):
    """A file in a folder that no one may enter; root, who may, becomes another user for a while."""
    path = tmp_path / "closed" / "file"
    path.parent.mkdir()
    path.write_text("")
    path.parent.chmod(0)
    # Python itself may lie in a folder of root's: whoever comes after root can import no more.
    for command in ("run", "check"):
        import_module(f"edge.cli.{command}")
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield path
    os.seteuid(user)
    path.parent.chmod(0o700)


def test_a_configuration_that_may_not_be_read_is_named(closed):
    with pytest.raises(ConfigError, match=f"{closed}: .*let user {os.geteuid()} read it"):
        config_file.load(closed)


def test_a_key_that_may_not_be_read_is_named(closed):
    with pytest.raises(GalleryError, match=f"let user {os.geteuid()} read it"):
        load_key(str(closed))


def test_a_key_that_may_not_be_written_is_named(closed):
    with pytest.raises(GalleryError, match=f"let user {os.geteuid()} write there"):
        create_key_file(closed.parent / "new")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_node_whose_configuration_may_not_be_read_is_not_started_again(
    command, closed, monkeypatch
):
    # access(2) asks for the real user, whom root cannot change for a while.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, str(closed)])
    assert result.exit_code == 78
    (line,) = result.stderr.strip().splitlines()
    assert line.endswith(
        f"{closed}: Permission denied: let user {os.geteuid()} read it (chown, chmod)"
    )
