"""The archive: the storage folder and its index, which always agree once it is opened.

A row is there before its video file, and a picture before its row; a file is gone before its row.
So whatever a crash leaves is one of a few states, which `repair` puts in order.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from edge.atomic_file import write_file
from edge.config import Storage
from edge.errors import StorageError
from edge.event import Event
from edge.recording import mp4
from edge.recording.index import Index
from edge.recording.kept_file import FILE_MODE, create_file, make_folders, withdraw
from edge.recording.records import EventRecord, FileKind, StoredFile

log = logging.getLogger(__name__)

INDEX = "index.db"
DAY_S = 86400.0
PROBE_BYTES = 1 << 20
_LOCK = ".lock"
_PROBE = ".probe"
_FOLDERS = ("events", "video")
_OURS = re.compile(
    r"events/[\d-]{10}/\.?[0-9a-z]{10}(\.thumb)?\.(mp4|jpg|whole)(\.\w+\.part)?"
    r"|video/[\w-]+/[\d-]{10}/\d\d/\d\d\.\d\d(-\d+)?\.mp4"
)
_SUFFIXES = {FileKind.CLIP: ".mp4", FileKind.SNAPSHOT: ".jpg", FileKind.THUMBNAIL: ".thumb.jpg"}
_VIDEO = {FileKind.CLIP, FileKind.CONTINUOUS}
_MAX_NAMES = 100  # of files that begin in the same second


class Archive:
    """The storage folder, used by one thread that writes; others read the index on their own.

    Args:
        settings: What is kept.
        folder: The folder; it is created, readable by its owner alone.

    Attributes:
        written_bytes: What was written since somebody set it to 0.

    Raises:
        StorageError: It cannot be used.
    """

    def __init__(self, settings: Storage, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.written_bytes = 0
        self._open: dict[str, StoredFile] = {}  # files that are being written, by path
        try:
            make_folders(folder)
        except OSError as error:
            raise StorageError(f"cannot be created: {error.strerror}", file=folder) from error
        self._lock = self._lock_folder()
        try:
            self._check_index()
            self._withdraw_index()
            self.index = Index(folder / INDEX)
            self.index.check()
            self._identity = _identify(folder / INDEX)
        except BaseException:
            self._lock.close()
            raise

    def _withdraw_index(self) -> None:
        """Let nobody else read an index that a former version made."""
        for name in (INDEX, f"{INDEX}-wal", f"{INDEX}-shm"):
            withdraw(self.folder / name)

    def close(self) -> None:
        """Close the index."""
        self.index.close()
        self._lock.close()

    def _lock_folder(self) -> BinaryIO:
        path = self.folder / _LOCK
        try:
            file = create_file(path)
        except OSError as error:
            raise _explain(error, path) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StorageError(
                "another process writes to it: give each node a folder of its own", file=self.folder
            ) from None
        return file

    def _check_index(self) -> None:
        """Refuse a folder whose index is lost: its files would be taken for leftovers."""
        if (self.folder / INDEX).exists():
            return
        if next(self._list_files(), None) is not None:
            raise StorageError(
                f"there are recordings, but their index {INDEX} is gone: bring it back, or move "
                "the recordings away",
                file=self.folder,
            )

    def check(self) -> None:
        """Make sure that the folder is the one that was opened.

        Raises:
            StorageError: It was moved away or deleted.
        """
        if _identify(self.folder / INDEX) != self._identity:
            raise StorageError("was moved away or deleted while in use", file=self.folder)

    def probe(self) -> None:
        """Make sure that files can be written.

        Raises:
            OSError: They cannot.
        """
        path = self.folder / _PROBE
        try:
            path.write_bytes(bytes(PROBE_BYTES))
        finally:
            path.unlink(missing_ok=True)

    def locate(self, file: StoredFile) -> Path:
        """Where a file lies."""
        return self.folder / file.path

    # --- events and their files -----------------------------------------------------------------

    def put_event(self, event: Event) -> Event:
        """Add an event, or put its present state in the place of the former one; as it is kept."""
        return self.index.put_event(event)

    def put_picture(self, kind: FileKind, event: Event, jpeg: bytes, captured_s: float) -> None:
        """Store a picture of an event in the place of a former one.

        Raises:
            OSError: It cannot be written.
            StorageError: The folder is gone, or the index cannot be written.
        """
        path = f"events/{_day(event.began_s)}/{event.event_id}{_SUFFIXES[kind]}"
        file = StoredFile(
            path, kind, event.camera, event.event_id, captured_s, captured_s, len(jpeg)
        )
        self._make_folder(path)
        write_file(self.folder / path, jpeg, mode=FILE_MODE)
        self.written_bytes += len(jpeg)
        self.index.put_file(file)

    def begin_clip(self, event: Event, began_s: float) -> StoredFile:
        """Register the clip of an event, which begins at a Unix time."""
        path = f"events/{_day(event.began_s)}/{event.event_id}{_SUFFIXES[FileKind.CLIP]}"
        return self._begin(StoredFile(path, FileKind.CLIP, event.camera, event.event_id, began_s))

    def begin_continuous(self, camera: str, began_s: float) -> StoredFile:
        """Register a file of continuous video, which begins at a Unix time."""
        stem = time.strftime("%Y-%m-%d/%H/%M.%S", time.gmtime(began_s))
        for number in range(1, _MAX_NAMES):
            path = f"video/{camera}/{stem}{f'-{number}' if number > 1 else ''}.mp4"
            if not (self.folder / path).exists():
                break
        return self._begin(StoredFile(path, FileKind.CONTINUOUS, camera, "", began_s))

    def _begin(self, file: StoredFile) -> StoredFile:
        self._make_folder(file.path)
        self.index.put_file(file)
        self._open[file.path] = file
        return file

    def end(self, file: StoredFile, ended_s: float) -> None:
        """A video file is complete."""
        self._open.pop(file.path, None)
        size_bytes = self.locate(file).stat().st_size
        self.index.put_file(
            replace(file, ended_s=max(ended_s, file.began_s), size_bytes=size_bytes)
        )

    def drop(self, file: StoredFile) -> None:
        """Delete a file."""
        self._open.pop(file.path, None)
        self.locate(file).unlink(missing_ok=True)
        self.index.delete_files([file.path])

    def _make_folder(self, path: str) -> None:
        self.check()  # else a new folder would be filled that no index knows
        make_folders((self.folder / path).parent)

    # --- retention ------------------------------------------------------------------------------

    def measure(self) -> dict[FileKind, int]:
        """The bytes of all files by kind, of those that are being written as well."""
        sizes = dict.fromkeys(FileKind, 0) | self.index.sum_bytes()
        for file in self._open.values():
            sizes[file.kind] += _measure(self.locate(file))
        return sizes

    def measure_index(self) -> int:
        """The bytes of the index."""
        return sum(_measure(self.folder / name) for name in (INDEX, f"{INDEX}-wal"))

    def prune(self, now_s: float, reserve_bytes: int = 0) -> int:
        """Delete what somebody wants to be gone, and what is too old or too much, oldest first.

        Returns:
            The bytes that were freed.

        Args:
            now_s: Unix time.
            reserve_bytes: What is going to be written.
        """
        freed = self.delete_doomed()
        freed += sum(map(self._delete, self._list_old(now_s)))
        excess = sum(self.measure().values()) + reserve_bytes - self.settings.max_bytes
        usage = shutil.disk_usage(self.folder)
        excess = max(excess, self.settings.min_free_bytes + reserve_bytes - usage.free)
        if excess <= 0:
            return freed
        for victim in self._list_oldest():
            size = self._delete(victim)
            freed, excess = freed + size, excess - size
            if excess <= 0:
                break
        return freed

    def delete_doomed(self) -> int:
        """Delete what somebody wants to be gone; the bytes that were freed."""
        return sum(map(self._delete_event, self.index.list_doomed()))

    def _list_old(self, now_s: float) -> Iterator[StoredFile | str]:
        days = self.settings.keep_days
        for kind, limit in ((FileKind.CONTINUOUS, days.continuous), (FileKind.CLIP, days.clips)):
            for file in self._iterate(kind):
                if (file.ended_s or now_s) >= now_s - limit * DAY_S:
                    break
                yield file
        yield from self.index.list_event_ids(before_s=now_s - days.events * DAY_S)

    def _list_oldest(self) -> Iterator[StoredFile | str]:
        """Continuous video, clips, then events, each oldest first."""
        for kind in (FileKind.CONTINUOUS, FileKind.CLIP):
            yield from self._iterate(kind)
        yield from self.index.list_event_ids()

    def _iterate(self, kind: FileKind) -> Iterator[StoredFile]:
        """Whole files of a kind that may go, oldest first; yielded ones are deleted meanwhile."""
        while True:
            files = [f for f in self.index.list_deletable(kind, 100) if f.ended_s is not None]
            yield from files
            if len(files) < 50:
                return

    def _delete(self, victim: StoredFile | str) -> int:
        """Delete a file, or an event with all its files; the bytes that this frees."""
        event_id = victim.event_id if isinstance(victim, StoredFile) else victim
        if event_id and self.index.is_protected(event_id):  # since a moment ago
            return 0
        if isinstance(victim, StoredFile):
            self.drop(victim)
            return victim.size_bytes
        return self._delete_event(victim)

    def _delete_event(self, event_id: str) -> int:
        """Delete an event with all its files, unless one is being written."""
        files = self.index.list_files(event_id=event_id)
        if any(file.path in self._open for file in files):
            return 0
        for file in files:
            self.drop(file)
        self.index.delete_event(event_id)
        return sum(file.size_bytes for file in files)

    # --- after a crash --------------------------------------------------------------------------

    def repair(self, stop: Callable[[], bool] = lambda: False) -> list[EventRecord]:
        """Make files and index agree, and end what was open when the process died.

        Returns:
            The events that were ended.

        Raises:
            StorageError: Files cannot be changed.
        """
        try:
            known = {}
            for file in self.index.list_files():
                if stop():
                    return []
                if self._is_sound(file):
                    known[file.path] = file
            self._delete_strays(known)
        except OSError as error:
            raise _explain(error, self.folder) from error
        return [self._end_event(event) for event in self.index.list_open_events()]

    def _end_event(self, event: Event) -> EventRecord:
        """End an event with the last that is kept of it."""
        clips = self.index.list_files(FileKind.CLIP, event_id=event.event_id)
        seen_s = [event.best.captured_s] if event.best else []
        seen_s += [clip.ended_s for clip in clips if clip.ended_s]
        self.index.put_event(replace(event, ended_s=max([event.began_s, *seen_s])))
        record = self.index.get_event(event.event_id)
        assert record  # noqa: S101 - it was put
        return record

    def _is_sound(self, file: StoredFile) -> bool:
        """Whether a file is there and whole, or can be made so."""
        path = self.locate(file)
        if not path.is_file():
            self.index.delete_files([file.path])
            return False
        withdraw(path)
        if file.ended_s is not None:
            size_bytes = path.stat().st_size
            if size_bytes != file.size_bytes:  # a better picture came last
                self.index.put_file(replace(file, size_bytes=size_bytes))
            return True
        lasts_s = mp4.repair(path) if file.kind in _VIDEO else None
        if lasts_s is None:
            self.drop(file)
            return False
        if file.kind is FileKind.CLIP:
            mp4.finish(path)
        log.info("%s was cut off by a crash and is repaired", path)
        self.end(file, file.began_s + lasts_s)
        return True

    def _delete_strays(self, known: Container[str]) -> None:
        """Delete files of ours that belong to nothing."""
        for path in self._list_files():
            if path.relative_to(self.folder).as_posix() not in known:
                path.unlink()

    def _list_files(self) -> Iterator[Path]:
        """The files that have names as ours have."""
        for top in _FOLDERS:
            for folder, _, names in os.walk(self.folder / top):
                for name in names:
                    path = Path(folder) / name
                    if _OURS.fullmatch(path.relative_to(self.folder).as_posix()):
                        yield path


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))


def _measure(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identify(path: Path) -> tuple[int, int] | None:
    """What tells a file from another in its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _explain(error: OSError, path: Path) -> StorageError:
    return StorageError(f"cannot be written: {error.strerror or error}", file=path)
