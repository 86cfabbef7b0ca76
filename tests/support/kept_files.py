"""What a storage folder holds, checked against its index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from edge.config import Storage
from edge.recording.archive import Archive
from edge.recording.records import FileKind

OWN = ("index.db", "index.db-wal", "index.db-shm", ".lock")
VIDEO = (FileKind.CLIP, FileKind.CONTINUOUS)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a crash left.

    Attributes:
        saved_s: Unix times of the ends of the files that were open.
        lost_s: Unix times of the beginnings of those of which nothing was whole.
    """

    saved_s: list[float]
    lost_s: list[float]


def list_files(folder):
    """All files of a folder but those of the archive itself, relative to it."""
    return {
        (Path(top) / name).relative_to(folder).as_posix()
        for top, _, names in os.walk(folder)
        for name in names
    } - set(OWN)


def measure_folder(folder):
    """The bytes of all files of a folder, those that vanish meanwhile left out."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(top) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def repair(folder, checked=frozenset()):
    """Open a folder as after a crash, and check all of it but the files that were before."""
    archive = Archive(Storage(folder=str(folder), min_free_bytes=0), folder)
    try:
        was_open = {f.path: f.began_s for f in archive.index.list_files() if f.ended_s is None}
        archive.repair()
        files = {file.path: file for file in archive.index.list_files()}
        assert files.keys() == list_files(folder)
        assert archive.index.list_open_events() == []
        for path, file in files.items():
            assert (folder / path).stat().st_size == file.size_bytes, path
            assert file.ended_s is not None, path
            if file.event_id:
                assert archive.index.get_event(file.event_id), path
            if path not in checked:
                check_file(folder / path, file)
        saved_s = [files[path].ended_s for path in was_open.keys() & files.keys()]
        lost_s = [was_open[path] for path in was_open.keys() - files.keys()]
        return Repaired(saved_s, lost_s), frozenset(files)
    finally:
        archive.close()


def check_file(path, file, *, is_decoded=True, off_s=0.1):
    """A video plays from its first to its last packet, a picture can be read.

    What a camera sends damaged is kept as it is, so that it need not be possible to decode it.
    """
    if file.kind in VIDEO:
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
            unit = packets[0].time_base
            ends_s = float(max(p.pts + p.duration for p in packets) * unit)
        if is_decoded:
            with av.open(str(path)) as container:
                shown = sum(1 for _ in container.decode(video=0))
            assert shown == len(packets), path
        assert packets[0].is_keyframe, path
        assert abs(ends_s - (file.ended_s - file.began_s)) < off_s, (path, ends_s, file)
    else:
        assert cv2.imread(str(path)) is not None, path
