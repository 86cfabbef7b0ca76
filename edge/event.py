"""An event: what happened before a camera, from its beginning to its end."""

from __future__ import annotations

from dataclasses import dataclass

from edge.compat import StrEnum

UNNAMED = "known person"  # in place of a name, to who may not see names; nobody is called that


class Severity(StrEnum):
    """How much an event matters: a detection is there to be found, an alert wants attention."""

    DETECTION = "detection"
    ALERT = "alert"


class EventChange(StrEnum):
    """What a message says of an event."""

    BEGUN = "begun"
    UPDATED = "updated"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class BestView:
    """The object of an event where it was seen best so far.

    Attributes:
        xyxy: Its box, pixels of the source image.
        size_wh: Width and height of that image, in pixels.
        captured_s: When, Unix seconds.
    """

    track_id: int
    label: str
    score: float
    xyxy: tuple[float, float, float, float]
    size_wh: tuple[int, int]
    captured_s: float


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """An enrolled person who was named.

    Attributes:
        person: Id.
        name: Name; empty once the person was forgotten.
    """

    person: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """What happened before a camera: tracks that belong together, or a camera that is away.

    Attributes:
        event_id: Short, unique on this node, and greater than those of earlier events.
        triggers: What began it and was added since, in the words of the rules and in the order in
            which it happened: ``entered:entrance``.
        labels: Classes of its objects.
        places: Zones, lines and states that its triggers name.
        people: Enrolled people who were named.
        tracks: Ids of its tracks.
        began_s: Unix time of the first trigger.
        ended_s: Unix time at which the last of it was seen; None while it goes on.
        best: Where its object is seen best; None for what has no box.
    """

    event_id: str
    camera: str
    severity: Severity
    triggers: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[KnownPerson, ...]
    tracks: tuple[int, ...]
    began_s: float
    ended_s: float | None = None
    best: BestView | None = None
