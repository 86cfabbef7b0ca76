"""What the index holds of events and files, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from edge.compat import StrEnum
from edge.event import Event, Severity

WORRYING_SHARE = 0.5  # of the bytes that may be kept: beyond it, protected events leave little room


class FileKind(StrEnum):
    """What a stored file is."""

    CLIP = "clip"
    SNAPSHOT = "snapshot"
    THUMBNAIL = "thumbnail"
    CONTINUOUS = "continuous"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the storage folder.

    Attributes:
        path: Relative to the folder, with forward slashes.
        event_id: The event it belongs to; empty for continuous video.
        began_s: Unix time of its first picture.
        ended_s: Unix time of the end of its last picture; None while it is written.
        size_bytes: Its size; 0 while it is written.
    """

    path: str
    kind: FileKind
    camera: str
    event_id: str
    began_s: float
    ended_s: float | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event with what is kept of it.

    Attributes:
        seen: Whether somebody has marked it as seen.
        protected: Whether it stays however old or large it is.
        files: Kinds of the files that are there whole.
    """

    event: Event
    seen: bool = False
    protected: bool = False
    files: frozenset[FileKind] = frozenset()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; what is empty or None selects all.

    Attributes:
        cameras: Of one of these cameras.
        label: With an object of this class.
        place: With a trigger in this zone or at this line.
        person: With this person, by id.
        after_s: Begun at or after this Unix time.
        before_s: Begun before this Unix time.
        seen: Marked as seen, or not.
        protected: Protected, or not.
    """

    cameras: tuple[str, ...] = ()
    label: str = ""
    place: str = ""
    person: str = ""
    severity: Severity | None = None
    after_s: float | None = None
    before_s: float | None = None
    seen: bool | None = None
    protected: bool | None = None


def describe_protected(share: float) -> str:
    """What to say where protected events take so much of the bytes that may be kept."""
    return (
        f"protected events take {share:.0%} of storage.max_bytes, so that little else is kept: "
        "delete some, take their protection away, or raise max_bytes"
    )
