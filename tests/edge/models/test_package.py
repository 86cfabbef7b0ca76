"""Packages: pip brings the pinned archive, one file is taken out, and nothing else is left."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edge.errors import ConfigError, EdgeError, ModelError
from edge.models.package import Package, PackageFile
from tests.support.package_index import (
    FOLDER,
    MEMBER,
    PackageIndex,
    describe,
    make_archive,
    point_pip_to,
)

CONTENT = np.random.default_rng(0).bytes(300_000)
ARCHIVE = make_archive(CONTENT)


@pytest.fixture
def index(monkeypatch):
    with PackageIndex(ARCHIVE).running() as running:
        point_pip_to(running.url, monkeypatch)
        yield running


@pytest.fixture
def wanted(tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    target = tmp_path / "new" / "network.dat"
    return PackageFile(describe(ARCHIVE), target, len(CONTENT), digest, timeout_s=5)


def left(wanted):
    return sorted(path.name for path in wanted.target.parent.iterdir())


def keep(wanted, archive):
    """Put an archive beside the target."""
    path = wanted.target.with_name(f"{FOLDER}.tar.gz")
    path.parent.mkdir(parents=True)
    path.write_bytes(archive)
    return path


# --- from pip's index -------------------------------------------------------------------------


def test_the_file_is_taken_out_of_the_archive_and_nothing_else_is_left(index, wanted):
    counts = []
    wanted.run(counts.append)
    assert wanted.target.read_bytes() == CONTENT
    assert left(wanted) == ["network.dat"]
    assert counts == sorted(counts)
    assert counts[-1] == len(ARCHIVE)


def test_what_is_there_is_not_fetched_again(index, wanted):
    wanted.run()
    asked = len(index.asked)
    wanted.run()
    assert asked == len(index.asked) == 2


def test_the_target_may_be_relative(index, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace(wanted, target=Path("here/network.dat")).run()
    assert (tmp_path / "here" / "network.dat").read_bytes() == CONTENT


def test_pip_is_not_taken_from_the_working_directory(index, wanted, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT


def swap(index):
    index.archive = make_archive(CONTENT[::-1])


def cut(index):
    index.cut = 100_000


def be_silent(index):
    index.silent = True


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (swap, ModelError, "another sha256: it is not the pinned file and was deleted"),
        # pip before 25.1 takes what arrived for the whole
        (cut, EdgeError, r"(?s)another sha256: .*Try again later|pip cannot get face_networks"),
        (be_silent, EdgeError, r"pip cannot get \S+ 0.3.0 \(.*(timed out|0\.5 seconds).*\): check"),
    ],
)
def test_a_failure_is_one_message_and_leaves_nothing(index, wanted, spoil, kind, says):
    spoil(index)
    with pytest.raises(kind, match=says) as caught:
        replace(wanted, timeout_s=0.5).run()
    assert "\n" not in str(caught.value)
    assert left(wanted) == []


def test_an_archive_without_end_is_cut_off_at_its_size(index, wanted):
    index.endless = True
    counts = []
    with pytest.raises(ModelError, match=f"has more than {len(ARCHIVE)} bytes: it is not the"):
        wanted.run(counts.append)
    assert max(counts, default=0) <= len(ARCHIVE)
    assert left(wanted) == []


def test_no_network_is_told_with_the_reason_and_the_way_around(wanted, monkeypatch):
    point_pip_to("http://127.0.0.1:9/simple", monkeypatch)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(EdgeError, match="Connection refused") as caught:
        wanted.run()
    assert f"or put {FOLDER}.tar.gz into {wanted.target.parent}, then" in str(caught.value)
    assert left(wanted) == []


def test_an_index_without_the_package_is_told(index, wanted):
    other = wanted.package.model_copy(update={"name": "unknown"})
    with pytest.raises(EdgeError, match=r"No matching distribution found for unknown==0\.3\.0"):
        replace(wanted, package=other).run()
    assert left(wanted) == []


def test_without_pip_both_ways_out_are_told(wanted, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"-m ensurepip, or put {FOLDER}.tar.gz into") as caught:
        wanted.run()
    assert sys.executable in str(caught.value)
    assert left(wanted) == []


def test_a_full_disk_is_told_with_what_is_needed(index, wanted, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(EdgeError, match=r"the disk is full: free 1 MB or choose"):
            replace(wanted, target=disk / "network.dat").run()
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_interrupt_ends_pip_and_leaves_nothing(index, wanted):
    index.silent = True

    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wanted.run(interrupt)
    assert left(wanted) == []


def test_what_a_killed_process_left_is_removed(index, wanted):
    work = wanted.target.with_name("network.dat.pip")
    (work / "tmp" / "half").mkdir(parents=True)
    (work / "member").write_bytes(b"half")
    wanted.run()
    assert left(wanted) == ["network.dat"]


def test_two_processes_do_not_download_the_same_file(index, wanted):
    work = wanted.target.with_name("network.dat.pip")
    work.mkdir(parents=True)
    lock = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EdgeError, match="another process is downloading the file: wait"):
            wanted.run()
    finally:
        os.close(lock)
    assert index.asked == []


# --- from an archive that is here -------------------------------------------------------------


def test_an_archive_beside_the_target_is_taken_instead_and_stays(index, wanted):
    keep(wanted, ARCHIVE)
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT
    assert left(wanted) == [f"{FOLDER}.tar.gz", "network.dat"]
    assert index.asked == []


def test_another_archive_beside_the_target_is_refused_and_stays(index, wanted):
    path = keep(wanted, ARCHIVE[:-1])
    with pytest.raises(ModelError, match=f"{path}: this is not {FOLDER}.tar.gz with sha256"):
        wanted.run()
    assert left(wanted) == [f"{FOLDER}.tar.gz"]
    assert index.asked == []


def link(kind):
    info = tarfile.TarInfo(MEMBER)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "archive",
    [
        make_archive(CONTENT[::-1]),
        make_archive(CONTENT + b"x"),
        make_archive(CONTENT[:-1]),
        make_archive(b"", **{MEMBER: link(tarfile.SYMTYPE)}),
        make_archive(b"", **{MEMBER: link(tarfile.LNKTYPE)}),
        make_archive(b"", **{MEMBER: link(tarfile.DIRTYPE)}),
        make_archive(b"", **{"../network.dat": CONTENT}),
    ],
    ids=["bytes", "longer", "shorter", "symlink", "hard link", "folder", "above"],
)
def test_only_the_pinned_file_is_taken_out(wanted, archive, tmp_path):
    keep(wanted, archive)
    with pytest.raises(ModelError, match=rf"has no {MEMBER} of 300000 bytes with sha256"):
        replace(wanted, package=describe(archive)).run()
    assert left(wanted) == [f"{FOLDER}.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("archive", [b"", b"junk", ARCHIVE[:200_000]])
def test_a_damaged_archive_is_told(wanted, archive):
    keep(wanted, archive)
    with pytest.raises(ModelError, match="the archive is damaged"):
        replace(wanted, package=describe(ARCHIVE).model_copy(
            update={"sha256": hashlib.sha256(archive).hexdigest()}
        )).run()  # fmt: skip
    assert left(wanted) == [f"{FOLDER}.tar.gz"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "--index-url"}, {"name": "a b"}, {"name": ""}, {"version": "1 --pre"},
        {"version": ""}, {"sha256": "abc"}, {"size_bytes": 0}, {"member": ""}, {"more": 1},
    ],
)  # fmt: skip
def test_a_package_is_checked_at_birth(change):
    with pytest.raises(ValidationError):
        Package(**{**describe(ARCHIVE).model_dump(), **change})
