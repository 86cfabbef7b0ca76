"""Atomic files: whole or not at all, with the permissions that were asked for."""

import os
import stat

import pytest

from edge.atomic_file import remove_leftovers, replace_file, write_file, write_together


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(("content", "written"), [("grün", "grün".encode()), (b"\x00", b"\x00")])
def test_a_file_is_replaced_whole(content, written, sync, tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    write_file(path, content, sync=sync)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "best.keras"
    path.write_text("old")

    def write_half():
        with replace_file(path) as part:
            part.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_is_in_the_same_folder_and_ends_as_asked(tmp_path):
    with replace_file(tmp_path / "a.keras", suffix=".keras") as part:
        assert part.parent == tmp_path
        assert part.suffix == ".keras"


@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_permissions_follow_mode_and_umask(mode, tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "key", b"secret", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == mode & ~0o027


def test_a_file_to_keep_is_created_once(tmp_path):
    path = tmp_path / "key"
    for content in (b"first", b"second"):
        write_file(path, content, mode=0o600, keep=True)
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_regular_file_is_written_to_and_never_replaced(tmp_path):
    fifo = tmp_path / "null"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(fifo, "figures")
        assert os.read(reader, 100) == b"figures"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_file(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_files_that_belong_together_are_written_with_their_mode(tmp_path):
    real, link, new = (tmp_path / name for name in ("real", "link", "new"))
    real.write_text("old")
    link.symlink_to(real)
    write_together({link: "grün", new: "second"}, mode=0o600)
    assert (real.read_text(encoding="utf-8"), new.read_text()) == ("grün", "second")
    assert link.is_symlink()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (real, new)} == {0o600}
    assert {*tmp_path.iterdir()} == {real, link, new}


@pytest.mark.parametrize("before", ["old", None])
def test_one_of_the_files_that_cannot_be_written_leaves_all_as_they_were(before, tmp_path):
    first, folder = tmp_path / "first", tmp_path / "folder"
    folder.mkdir()  # refused when first is in its place
    if before:
        first.write_text(before)
    with pytest.raises(OSError, match="folder"):
        write_together({first: "new", folder: "new"}, mode=0o600)
    assert (first.read_text() if first.exists() else None) == before
    assert {*tmp_path.iterdir()} == ({first, folder} if before else {folder})


def test_only_what_was_written_under_a_temporary_name_is_a_leftover(tmp_path):
    others = [".a.json.0123abcd.txt", ".a.json.12.part", ".b.json.0123abcd.part", "a.json"]
    for name in (".a.json.0123abcd.part", *others):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
