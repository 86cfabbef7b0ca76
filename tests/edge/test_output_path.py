"""Output paths are checked before the work whose result is written there."""

import os
from pathlib import Path

import pytest

from edge.errors import ConfigError
from edge.output_path import check_output_file, check_output_folder


@pytest.fixture
def here(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "link").symlink_to(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("data", "--out: this is a folder: name a file in it"),
        ("a.png", "--out is the input itself"),
        ("link", "--out is the input itself"),
        ("no/b.png", "--out cannot be written .* create the folder, or choose another"),
        ("a.png/b.png", "--out cannot be written .*: choose another folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(here, out, says):
    with pytest.raises(ConfigError, match=says) as caught:
        check_output_file(here / out, "--out", here / "a.png", here / "data")
    assert caught.value.file == here / out


@pytest.mark.parametrize("out", ["b.png", "data/b.png", "data/../b.png"])
def test_a_file_that_can_be_written_leaves_no_trace(here, out):
    before = sorted(here.rglob("*"))
    check_output_file(here / out, "--out", here / "a.png", here / "data")
    check_output_file(None, "--out")
    assert sorted(here.rglob("*")) == before


def test_folders_that_will_be_made_are_no_fault(here):
    check_output_file(here / "no" / "deep" / "b.png", "--sheet", makes_folders=True)
    check_output_folder(here / "no" / "deep", "--draw")
    assert not (here / "no").exists()
    with pytest.raises(ConfigError, match="--sheet cannot be written"):
        check_output_file(here / "a.png" / "no" / "b.png", "--sheet", makes_folders=True)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("a.png", "--out: this is a file: name a folder"),
        ("a.png/run", "--out cannot be written"),
        ("data", "--out is the input itself"),
        ("data/../data", "--out is the input itself"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(here, out, says):
    with pytest.raises(ConfigError, match=says):
        check_output_folder(here / out, "--out", here / "data")


def test_what_the_system_lets_nobody_write_is_refused():
    with pytest.raises(ConfigError, match="--out cannot be written"):
        check_output_folder(Path("/proc/self/run"), "--out")


def test_devices_and_pipes_are_written_to(here):
    os.mkfifo(here / "pipe")
    for path in (Path("/dev/null"), here / "pipe"):
        check_output_file(path, "--out")
