"""The archivist: tells events, and keeps their pictures and clips, in a thread of its own.

The disk is only touched here. Where it hangs or is full, events are told without what is kept of
them, and nothing else is disturbed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edge.config import Camera, Storage
from edge.errors import EdgeError, StorageError
from edge.event import Event, EventChange
from edge.events.camera_events import EventUpdate
from edge.recording.archive import Archive
from edge.recording.clip import ClipWriter, ContinuousWriter
from edge.recording.records import FileKind
from edge.recording.ring import PacketRing
from edge.recording.snapshot import cut_thumbnail, encode_jpeg, take_snapshot
from edge.repeated_warning import RepeatedWarnings
from edge.service.workers import Worker
from edge.types import FrameResult

log = logging.getLogger(__name__)

TICK_S = 0.25
PRUNE_S = 5.0
RETRY_S = 10.0  # after the disk refused to be written
STUCK_S = 3.0  # without progress it does not wait for the disk
MAX_WAITING = 1000
RESERVE_BYTES = 8 << 20  # that may be written until the next look; half of it causes one
MAIN_S = 2.0  # between two pictures of an event that are decoded from a main stream


class Tell(Protocol):
    """Publishes a change of an event, of which a picture or a clip may be kept."""

    def __call__(self, event: Event, change: EventChange, *, snapshot: bool, clip: bool) -> None:
        """Publish it; must be quick."""


@dataclass(frozen=True, slots=True)
class RecordedCamera:
    """A camera of which something is kept.

    Attributes:
        source: The packets of the stream that is looked at; None where they do not come coded.
        main: Those of the main stream; None where there is none.
    """

    settings: Camera
    source: PacketRing | None = None
    main: PacketRing | None = None

    @property
    def ring(self) -> PacketRing | None:
        """The packets that clips are made of: of the main stream, unless it gives none."""
        return self.main if self.main and self.main.is_filled else self.source


@dataclass(slots=True)
class _Kept:
    """What is kept of an event that goes on.

    Attributes:
        snapshot: Whether there is a picture.
        clip: The clip while it is written.
        has_clip: Whether there is a clip.
        best: A frame that is better than the picture, and waits for its turn.
        classes: Class names by its class ids.
        is_told: Whether its end was told, since the disk was waited for too long.
        pictured_s: When the last picture was taken, on the monotonic clock.
        from_main: Whether it was taken from the main stream.
    """

    event: Event
    camera: RecordedCamera
    snapshot: bool = False
    clip: ClipWriter | None = None
    has_clip: bool = False
    best: FrameResult | None = None
    classes: tuple[str, ...] = ()
    is_told: bool = False
    pictured_s: float = float("-inf")
    from_main: bool = False


class Archivist:
    """Keeps what the configuration says, and tells events when it has.

    Args:
        settings: What is kept; None keeps nothing, and events are told at once.
        base: The folder that the storage folder is relative to.
        tell: Publishes a change of an event.
        report: Called with why nothing can be kept, or with nothing.
        on_measured: Called with the bytes of what is kept.

    Attributes:
        cameras: Of which something is kept, by name; may be replaced at any time.
        stored: The bytes of what is kept.
        protected_bytes: Those of protected events among them.
    """

    def __init__(
        self,
        settings: Storage | None,
        base: Path,
        tell: Tell,
        report: Callable[[str], None],
        on_measured: Callable[[Mapping[FileKind, int]], None] = lambda _: None,
    ) -> None:
        self.cameras: Mapping[str, RecordedCamera] = {}
        self.stored: Mapping[FileKind, int] = {}
        self.protected_bytes = 0
        self._settings, self._base = settings, base
        self._tell, self._report, self._on_measured = tell, report, on_measured
        self._waiting: deque[tuple[EventUpdate, bool]] = deque()  # and whether it was told
        self._changed = threading.Condition()
        self._kept: dict[str, _Kept] = {}
        self._continuous: dict[str, ContinuousWriter] = {}
        self._warnings = RepeatedWarnings(log)
        self._worker: Worker | None = None
        self._problem = ""
        self._progress_s = time.monotonic()
        self._pruned_s = float("-inf")
        self._refused_until_s = float("-inf")
        self._enrolled: frozenset[str] | None = None  # that have not been compared yet

    @property
    def folder(self) -> Path | None:
        """The storage folder."""
        return self._base / self._settings.folder if self._settings else None

    @property
    def protected_share(self) -> float:
        """How much of ``max_bytes`` protected events take."""
        return self.protected_bytes / self._settings.max_bytes if self._settings else 0.0

    def adjust(self, settings: Storage | None) -> None:
        """Keep as much and as long as this says; its folder is the same."""
        self._settings = settings

    def put(self, updates: Sequence[EventUpdate]) -> None:
        """Take changes of events; never blocks."""
        if not updates:
            return
        is_late = self._settings is None or time.monotonic() - self._progress_s > STUCK_S
        if is_late:
            for update in updates:
                self._tell_bare(update)
        if self._settings is None:
            return
        with self._changed:
            self._waiting.extend((update, is_late) for update in updates)
            while len(self._waiting) > MAX_WAITING:
                lost, was_told = self._waiting.popleft()
                if not was_told:
                    self._tell_bare(lost)
            self._changed.notify()

    def _tell_bare(self, update: EventUpdate) -> None:
        """Tell a change of which nothing is kept."""
        self._tell(update.event, update.change, snapshot=False, clip=False)

    def retain_people(self, people: frozenset[str]) -> None:
        """Remove the names of all others from events, since they were forgotten; ids."""
        self._enrolled = people

    # --- the thread -----------------------------------------------------------------------------

    def run(self, worker: Worker) -> None:
        """Keep what comes until stopped; what cannot be kept is told all the same."""
        self._worker = worker
        while not worker.stop.is_set():
            self._mark_progress()
            try:
                with self._open(worker) as archive:
                    self._set_problem("")
                    try:
                        self._work(archive, worker)
                    except (StorageError, OSError):
                        self._leave_files(archive)
                        raise
            except (StorageError, OSError) as error:
                problem = error.strerror if isinstance(error, OSError) else None
                self._set_problem(problem or str(error))
                self._warnings.tell("storage", f"storage: {self._problem}")
                self._keep_nothing(worker)
        self._flush_untold()

    def _set_problem(self, problem: str) -> None:
        if self._problem and not problem:
            log.info("storage: it can be written again")
        self._problem = problem
        self._report(problem)

    def _mark_progress(self) -> None:
        if self._worker:
            self._worker.mark_progress()
        self._progress_s = time.monotonic()

    @contextlib.contextmanager
    def _open(self, worker: Worker) -> Iterator[Archive]:
        assert self._settings  # noqa: S101 - for mypy
        archive = Archive(self._settings, self._base / self._settings.folder)
        with contextlib.closing(archive):
            for record in archive.repair(lambda: self._goes_on(worker)):
                if record.event.event_id not in self._kept:
                    snapshot, clip = (k in record.files for k in (FileKind.SNAPSHOT, FileKind.CLIP))
                    self._tell(record.event, EventChange.ENDED, snapshot=snapshot, clip=clip)
            if self._problem:
                archive.prune(time.time(), RESERVE_BYTES)
                archive.probe()
            yield archive

    def _goes_on(self, worker: Worker) -> bool:
        """Mark progress during a long repair; whether to give up."""
        self._mark_progress()
        return worker.stop.is_set()

    def _keep_nothing(self, worker: Worker) -> None:
        """Tell events while the storage cannot be used."""
        until_s = time.monotonic() + RETRY_S
        while time.monotonic() < until_s and not worker.stop.is_set():
            self._mark_progress()
            for update, was_told in self._take(TICK_S):
                if not was_told:
                    self._tell_bare(update)
                self._kept.pop(update.event.event_id, None)
            self._warnings.sum_up()

    def _leave_files(self, archive: Archive) -> None:
        """Write no file to its end; what was whole is repaired when the storage is back."""
        for kept in list(self._kept.values()):
            if kept.clip:
                kept.clip.leave()
                kept.clip = None
            if kept.event.ended_s is not None:
                self._close(archive, kept)
        for writer in self._continuous.values():
            writer.leave()
        self._continuous.clear()

    def _take(self, timeout_s: float) -> list[tuple[EventUpdate, bool]]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            updates = list(self._waiting)
            self._waiting.clear()
        return updates

    def _work(self, archive: Archive, worker: Worker) -> None:
        while not worker.stop.is_set():
            self._step(archive, self._take(TICK_S))
            self._warnings.sum_up()
        self._step(archive, self._take(0))
        for kept in list(self._kept.values()):
            if kept.clip:
                with self._attempt(f"the clip of {kept.event.event_id}"):
                    kept.clip.finish()
                    kept.has_clip = True
                kept.clip = None
            self._close(archive, kept)
        for writer in self._continuous.values():
            with self._attempt("continuous video"):
                writer.finish()
        self._continuous.clear()

    def _step(self, archive: Archive, updates: Sequence[tuple[EventUpdate, bool]]) -> None:
        self._mark_progress()
        is_due = time.monotonic() - self._pruned_s > PRUNE_S
        if is_due or archive.written_bytes > RESERVE_BYTES // 2:
            self._look_after(archive)
            self._pruned_s, archive.written_bytes = time.monotonic(), 0
        for row, (update, was_told) in enumerate(updates):
            try:
                self._keep(archive, update, tell=not was_told)
            except (StorageError, OSError):
                with self._changed:
                    self._waiting.extendleft(reversed(updates[row:]))
                raise
            self._mark_progress()
        if (enrolled := self._enrolled) is not None:  # what waited may have named somebody
            self._enrolled = None
            for person in archive.index.list_people() - enrolled:
                archive.index.forget_person(person)
        for kept in list(self._kept.values()):
            self._go_on(archive, kept)
            self._mark_progress()
        self._record_all(archive)

    def _look_after(self, archive: Archive) -> None:
        """Make room, and look whether what was in the way is over."""
        if self._settings:
            archive.settings = self._settings
        archive.check()
        reserve = min(RESERVE_BYTES, archive.settings.max_bytes // 4)
        archive.prune(time.time(), reserve + archive.measure_index())
        self.stored = archive.measure()
        self.protected_bytes = archive.index.sum_protected_bytes()
        self._on_measured(self.stored)
        if self._problem:
            with contextlib.suppress(OSError):
                archive.probe()
                self._set_problem("")

    # --- events ---------------------------------------------------------------------------------

    def _keep(self, archive: Archive, update: EventUpdate, *, tell: bool) -> None:
        """Take a change of an event into account, and tell it if nobody has."""
        event = update.event
        camera = self.cameras.get(event.camera)
        event = archive.put_event(event)
        update = replace(update, event=event)
        kept = self._kept.get(event.event_id)
        if kept is None:
            if camera is None or update.change is EventChange.ENDED:
                if tell:
                    self._tell_bare(update)
                return
            kept = self._kept[event.event_id] = _Kept(event, camera)
            if camera.ring and camera.settings.keeps_clips and (event.tracks or event.places):
                record = camera.settings.record
                kept.clip = ClipWriter(archive, event, camera.ring, record.pre_s, record.max_clip_s)
        kept.event = event
        if update.best:
            kept.best, kept.classes = update.best, update.classes
        ended = update.change is EventChange.ENDED
        if kept.best and (ended or self._is_due(kept)):
            self._take_picture(archive, kept)
        if ended:
            kept.is_told = not tell
            if kept.clip and event.ended_s is not None:
                kept.clip.stop_s = event.ended_s + kept.camera.settings.record.post_s
        elif tell:
            self._tell(event, update.change, snapshot=kept.snapshot, clip=kept.clip is not None)

    def _is_due(self, kept: _Kept) -> bool:
        """Whether a picture may be taken: one of a main stream costs more to decode."""
        waited_s = time.monotonic() - kept.pictured_s
        return kept.camera.main is None or waited_s >= MAIN_S

    def _go_on(self, archive: Archive, kept: _Kept) -> None:
        if kept.best and self._is_due(kept):
            self._take_picture(archive, kept)
        if kept.clip:
            with self._attempt(f"the clip of {kept.event.event_id}", kept.clip.abandon) as attempt:
                if kept.clip.write():
                    kept.has_clip = kept.clip.has_pictures
                    kept.clip = None
            if attempt.failed:
                kept.clip = None
        if kept.clip is None and kept.event.ended_s is not None:
            self._close(archive, kept)

    def _close(self, archive: Archive, kept: _Kept) -> None:
        """Tell the end of an event, for which everything is kept; not of one that was deleted."""
        self._kept.pop(kept.event.event_id, None)
        with contextlib.suppress(StorageError):  # where that cannot be known, it is told
            if archive.index.is_doomed(kept.event.event_id):
                return
        if kept.event.ended_s is not None and not kept.is_told:
            self._tell(kept.event, EventChange.ENDED, snapshot=kept.snapshot, clip=kept.has_clip)

    def _take_picture(self, archive: Archive, kept: _Kept) -> None:
        result, kept.best = kept.best, None
        best = kept.event.best
        if result is None or best is None:
            return
        kept.pictured_s = time.monotonic()
        with self._attempt(f"the picture of {kept.event.event_id}"):
            settings, main = kept.camera.settings, kept.camera.main
            is_there = main is not None and main.reaches(result.frame.captured_s)
            if kept.from_main and not is_there:
                return  # what is there has more pixels
            kept.from_main = is_there
            rgb = take_snapshot(result, main, settings.hide, kept.classes)
            thumbnail = encode_jpeg(cut_thumbnail(rgb, best))
            at_s = result.frame.captured_s
            archive.put_picture(FileKind.SNAPSHOT, kept.event, encode_jpeg(rgb), at_s)
            archive.put_picture(FileKind.THUMBNAIL, kept.event, thumbnail, at_s)
            kept.snapshot = True

    # --- continuous video -----------------------------------------------------------------------

    def _record_all(self, archive: Archive) -> None:
        wanted = {
            name: camera.ring
            for name, camera in self.cameras.items()
            if camera.settings.record.continuous and camera.ring
        }
        for name in [n for n, writer in self._continuous.items() if writer.ring != wanted.get(n)]:
            with self._attempt(f"video of {name}"):
                self._continuous.pop(name).finish()
        for name, ring in wanted.items():
            if time.monotonic() < self._refused_until_s:
                break
            writer = self._continuous.get(name)
            if writer is None:
                writer = self._continuous[name] = ContinuousWriter(archive, name, ring)
            with self._attempt(f"video of {name}", writer.abandon) as attempt:
                writer.write()
            if attempt.failed:
                self._refused_until_s = time.monotonic() + RETRY_S

    # --- trouble --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _attempt(self, what: str, undo: Callable[[], None] = lambda: None) -> Iterator[_Attempt]:
        """Tell of what cannot be kept; go on without it."""
        attempt = _Attempt()
        try:
            yield attempt
        except (OSError, EdgeError) as error:
            attempt.failed = True
            if isinstance(error, OSError):
                self._set_problem(error.strerror or str(error))
                self._warnings.tell("storage", f"storage: {self._problem}: {what} is not kept")
            else:
                self._warnings.tell(f"kept {what[:6]}", f"{what} is not kept: {error}")
            with contextlib.suppress(OSError, EdgeError):
                undo()

    def _flush_untold(self) -> None:
        for update, was_told in self._take(0):
            if not was_told:
                self._tell_bare(update)


@dataclass(slots=True)
class _Attempt:
    failed: bool = field(default=False)
