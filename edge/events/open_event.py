"""An event that goes on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from edge.config import split_trigger
from edge.event import BestView, Event, KnownPerson, Severity
from edge.types import FrameResult


@dataclass(slots=True)
class OpenEvent:
    """What is known of an event so far.

    Attributes:
        active_s: Unix time at which the last of it was seen.
        best: Its object where it is seen best, and how good that is.
        best_result: The frame of that.
        told_best: How good the best was when it was told last.
        changed: Whether something was added since it was told last.
        told_s: When it was told last, on the clock of the frames.
        cooling: Triggers and labels that begin no other event for so long, in seconds; not those
            that were added while they must not.
    """

    event_id: str
    camera: str
    began_s: float
    active_s: float
    severity: Severity = Severity.DETECTION
    triggers: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    people: list[KnownPerson] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)
    best: BestView | None = None
    best_quality: float = 0.0
    best_result: FrameResult | None = None
    told_quality: float = 0.0
    changed: bool = False
    told_s: float = 0.0
    cooling: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, trigger: str, severity: Severity, label: str = "", track_id: int = 0) -> None:
        """Something happened that belongs to it."""
        word, place, _ = split_trigger(trigger)
        place = "" if word == "attribute" else place
        for values, value in (
            (self.triggers, trigger), (self.labels, label), (self.places, place),
        ):  # fmt: skip
            self._append(values, value)
        if track_id and track_id not in self.tracks:
            self.tracks.append(track_id)
            self.changed = True
        if severity is Severity.ALERT and self.severity is not severity:
            self.severity, self.changed = severity, True

    def _append(self, values: list[str], value: str) -> None:
        if value and value not in values:
            values.append(value)
            self.changed = True

    def name(self, person: KnownPerson) -> None:
        """A person was named."""
        if person not in self.people:
            self.people.append(person)
            self.changed = True

    def retain_people(self, enrolled: Collection[str]) -> None:
        """Take the names of all others away, since they were forgotten."""
        rest = [
            known if known.person in enrolled else KnownPerson(known.person, "")
            for known in self.people
        ]
        if rest != self.people:
            self.people, self.changed = rest, True

    def describe(self, *, ended: bool = False) -> Event:
        """It as it is now."""
        return Event(
            self.event_id, self.camera, self.severity, tuple(self.triggers), tuple(self.labels),
            tuple(self.places), tuple(self.people), tuple(self.tracks), self.began_s,
            self.active_s if ended else None, self.best,
        )  # fmt: skip
