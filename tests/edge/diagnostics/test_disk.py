"""Disks: full, read-only, unreadable."""

import os
from types import SimpleNamespace

from edge.cli.check import _check_space
from edge.diagnostics import disk as module
from edge.diagnostics.disk import MIN_FREE_BYTES, check_disks


def disk(free_bytes, flags=0):
    return lambda _: SimpleNamespace(f_bavail=free_bytes // 512, f_frsize=512, f_flag=flags)


def test_free_space_is_that_of_the_nearest_folder(tmp_path):
    (finding,) = check_disks([tmp_path / "to/be/made"], disk(MIN_FREE_BYTES))
    assert finding.ok
    assert finding.detail == f"2.0 GiB free at {tmp_path}"


def test_a_full_disk_is_noticed(tmp_path):
    (finding,) = check_disks([tmp_path], disk(MIN_FREE_BYTES - 512))
    assert not finding.ok
    assert "free some space" in finding.hint


def test_folders_on_one_file_system_are_one_line(tmp_path):
    assert len(list(check_disks([tmp_path, tmp_path / "cache"]))) == 1


def test_a_read_only_disk_is_noticed(tmp_path):
    (finding,) = check_disks([tmp_path / "state"], disk(2**40, os.ST_RDONLY))
    assert finding.detail == f"{tmp_path} is read-only"
    assert finding.hint == f"make {tmp_path / 'state'} writable"


def test_a_mount_that_fails_is_no_traceback(tmp_path):
    def fails(path):
        raise OSError(116, "Stale file handle")

    (finding,) = check_disks([tmp_path], fails)
    assert not finding.ok
    assert "Stale file handle" in finding.detail


def test_a_file_in_place_of_a_folder_is_no_traceback(tmp_path):
    (tmp_path / "state").write_text("")
    assert len(list(check_disks([tmp_path / "state/edge"]))) == 1


def test_check_warns_of_little_space_for_outputs(tmp_path, monkeypatch):
    sinks = [{"kind": "jsonl", "path": str(tmp_path / "out.jsonl")}, {"kind": "zeromq"}]
    assert not list(_check_space([{"kind": "jsonl", "path": "-"}]))
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 2**62)
    (finding,) = _check_space(sinks)
    assert finding.ok
    assert finding.detail.startswith("warning: ")
    assert "free some space" in finding.detail
