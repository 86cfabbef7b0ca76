"""What must still be there at the end: every message, every event with its files, no password."""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av

from edge.recording.index import Index
from edge.recording.records import FileKind, StoredFile
from edge.replay import Replay
from edge.wire.schema import EventMessage, encode
from tests.soak.numbers import REPLAYED, Numbers
from tests.soak.stage import CHANGING
from tests.support.kept_files import check_file, list_files

LATEST_S = 24 * 3600.0
CHECKED = 200  # files that are played
OLD_S = 120.0  # files go oldest first; a clip begins up to half a minute before its event
_STAMP = re.compile(r"^\S+ \S+ ")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the storage folder holds, checked.

    Attributes:
        events: How many.
        files: How many.
        played: Files that were played from the first picture to the last.
        lacking: Events whose picture or clip is not there, though nothing newer had to go.
        untold: Events that no message tells of.
        strays: Files that no row tells of, or rows without a file.
        damaged: Files that cannot be played whole.
    """

    events: int
    files: int
    played: int
    lacking: tuple[str, ...]
    untold: tuple[str, ...]
    strays: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def problems(self) -> int:
        """How many things are wrong."""
        return sum(map(len, (self.lacking, self.untold, self.strays, self.damaged)))


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the stream of NATS has.

    Attributes:
        told: Events that messages tell of.
        ended: The last message about each event that has ended.
        repeated: Messages that are there more than once.
        leaks: Messages that have the secret in them.
    """

    told: frozenset[str]
    ended: Mapping[str, EventMessage]
    repeated: int
    leaks: int


def replay(url: str, since_s: float, numbers: Numbers, secret: str) -> Replayed:
    """Read the whole stream, and note the number of each message."""
    told, ended, leaks = set[str](), dict[str, EventMessage](), 0
    with Replay(url, since_s=since_s, until_s=time.time() + LATEST_S) as read:
        for topic, body in read:
            numbers.note(body.boot, topic, body.seq, REPLAYED)
            leaks += secret.encode() in encode(body)
            if isinstance(body, EventMessage):
                told.add(body.event)
                if body.change == "ended":
                    ended[body.event] = body
        repeated = sum(account.repeated for account in read.account())
        for account in read.account():
            for _, last in account.missing:
                numbers.claim(account.boot, account.topic, last)
    return Replayed(frozenset(told), ended, repeated, leaks)


def check_kept(folder: Path, replayed: Replayed) -> Kept:
    """Check the storage folder of a node that has ended: nothing in it is repaired first."""
    index = Index(folder / "index.db")
    try:
        files = {file.path: file for file in index.list_files()}
        present = list_files(folder)
        sizes = {path: (folder / path).stat().st_size for path in files.keys() & present}
        strays = {*(files.keys() ^ present)} | {
            path
            for path, size in sizes.items()
            if size != files[path].size_bytes or files[path].ended_s is None
        }
        known = frozenset(index.list_event_ids())
        lacking = sorted(_find_lacking(index, files.values(), replayed))
    finally:
        index.close()
    chosen = random.Random(0).sample(sorted(sizes), min(CHECKED, len(sizes)))
    damaged = tuple(filter(None, (_find_damage(folder, files[path]) for path in chosen)))
    orphans = {file.path for file in files.values() if file.event_id and file.event_id not in known}
    return Kept(
        len(known), len(files), len(chosen), tuple(lacking),
        tuple(sorted(known - replayed.told)), tuple(sorted(strays | orphans)), damaged,
    )  # fmt: skip


def _find_lacking(index: Index, files: Collection[StoredFile], replayed: Replayed) -> Iterator[str]:
    """Events that lack what their message says is kept, and are younger than what had to go."""
    clips_s = [file.began_s for file in files if file.kind is FileKind.CLIP]
    pictures_s = [file.began_s for file in files if file.kind is FileKind.SNAPSHOT]
    for event_id, body in replayed.ended.items():
        record = index.get_event(event_id)
        wanted = {
            kind
            for kind, is_kept, kept_s in (
                (FileKind.CLIP, body.clip, clips_s),
                (FileKind.SNAPSHOT, body.snapshot, pictures_s),
            )
            if is_kept and body.began_at > min(kept_s, default=math.inf) + OLD_S
        }
        if wanted - (record.files if record else frozenset()):
            yield event_id


def _find_damage(folder: Path, file: StoredFile) -> str:
    """What is wrong with a file; empty if nothing is."""
    is_sound = file.camera not in CHANGING
    off_s = 0.1 if is_sound else 0.6  # the others go down to two pictures a second
    try:
        check_file(folder / file.path, file, is_decoded=is_sound, off_s=off_s)
    except (AssertionError, OSError, IndexError, av.FFmpegError) as error:
        return f"{file.path}: {error}"
    return ""


def count_lines(log: str) -> dict[str, int]:
    """How often each warning or error was logged; what differs from time to time is left out."""
    lines = Counter[str]()
    for line in log.splitlines():
        if re.search(r"\b(warning|error)\b", line):
            lines[re.sub(r"[0-9a-f]*\d[0-9a-f.:]*", "#", _STAMP.sub("", line))] += 1
    return dict(lines)
