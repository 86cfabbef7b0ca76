"""The events of one camera, from what is found in its frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from edge.config import Camera, EventRule
from edge.event import BestView, Event, EventChange, KnownPerson, Severity
from edge.events.open_event import OpenEvent
from edge.events.view_quality import measure_view
from edge.types import (
    UNDECIDED,
    CameraState,
    CameraStatus,
    Classified,
    Frame,
    FrameResult,
    Outcome,
    StatusReason,
    TrackEvent,
    TrackEventType,
    TrackLoss,
)
from edge.vision.polygons import bound

LINGER_S = 2.0  # an event is over when nothing of it was seen for so long
REST_S = 30.0  # what has stood for so long is not waited for: a parked car
TELL_S = 1.0  # between two updates of an event
PLACE_QUALITY = 1e-6  # of the view of a place: any object of the event is worth more
BETTER = 1.05  # a view is told when it is so many times as good
_PERSON = "person"
_OUTCOMES = {Outcome.KNOWN: "known", Outcome.UNKNOWN: "unknown", Outcome.SPOOF: "spoof"}
_EXPECTED = {StatusReason.CONNECTING, StatusReason.STOPPED, StatusReason.END_OF_FILE}
_SHOWS = {CameraState.ONLINE, CameraState.DEGRADED}


@dataclass(frozen=True, slots=True)
class EventUpdate:
    """A change of an event that is to be told and kept.

    Attributes:
        best: The frame in which its object is seen best, if that is a better one than was told
            before.
        classes: Class names by the class_id of ``best``.
    """

    change: EventChange
    event: Event
    best: FrameResult | None = None
    classes: tuple[str, ...] = ()


def _write_trigger(word: str, told: Classified) -> str:
    """A trigger in the words of the rules: ``state:gate=open``."""
    return f"{word}:{told.name}={told.value}"


def _includes(rule: EventRule, trigger: str) -> bool:
    """Whether a rule names a trigger, or all of its kind: ``state:gate``, ``state``."""
    return not {trigger, trigger.partition("=")[0], trigger.partition(":")[0]}.isdisjoint(rule.when)


def _is_change(told: Classified) -> bool:
    """Whether another value was decided than before: doubt is none, and neither is its end."""
    return told.value not in (UNDECIDED, told.before)


@dataclass(slots=True)
class _Track:
    """A track as events see it.

    Attributes:
        frames: Frames in which it was detected.
        rested_s: Since when it has stood; None while it moves.
        waiting: Triggers of rules that ask for more frames.
    """

    label: str
    frames: int = 0
    rested_s: float | None = None
    waiting: list[tuple[EventRule, str]] = field(default_factory=list)


class CameraEvents:
    """Gathers what happens before a camera into events.

    Args:
        camera: Its settings.
        classes: Class names by class_id.
        make_id: Makes an id for an event that begins at a Unix time.
    """

    def __init__(
        self, camera: Camera, classes: Sequence[str], make_id: Callable[[float], str]
    ) -> None:
        self.camera = camera
        self._classes = tuple(classes)
        self._make_id = make_id
        self._tracks: dict[int, _Track] = {}
        self._open: OpenEvent | None = None
        self._away: OpenEvent | None = None
        self._quiet_until_s: dict[tuple[str, str], float] = {}  # by trigger and label
        self._enrolled: Collection[str] | None = None  # who may be named; None is everybody
        self._offset_s: float | None = None  # of Unix time from the clock that nobody sets

    def note(self, result: FrameResult) -> list[EventUpdate]:
        """Take a frame into account; the changes that it makes."""
        at_s, updates = result.frame.captured_s, self._note_clock(result.frame)
        if result.loss:
            updates += self.note_loss(result.loss)
        if result.looked:
            self._count(result, at_s)
        for change in result.changes:
            updates += self._trigger_change(change, result.frame)
        for track_id, trigger, person in self._list_decisions(result):
            updates += self._trigger_all(track_id, trigger, result.frame, person)
        for row, told in result.told_attributes:
            if _is_change(told):
                track_id = int(result.tracks.track_id[row])
                updates += self._trigger_all(
                    track_id, _write_trigger("attribute", told), result.frame
                )
        for told in result.told_states:
            if told.before and _is_change(told):
                updates += self._trigger_state(told, result)
        for track_id in result.tracks.track_id.tolist() if result.looked else ():
            updates += self._trigger_waiting(track_id, result.frame)
        self._note_view(result)
        return updates + self._follow(at_s)

    def note_loss(self, loss: TrackLoss) -> list[EventUpdate]:
        """Take into account that a camera's tracks ended because it was lost."""
        updates = []
        for change in loss.changes:
            updates += self._trigger_change(change, loss.frame)
        return updates

    def note_status(self, status: CameraStatus) -> list[EventUpdate]:
        """Take a state of the camera into account."""
        shows = status.state in _SHOWS
        if self._away and shows:
            self._away.active_s = status.at_s
            return [self._end_away(self._away)]
        rule = next((rule for rule in self.camera.events if "offline" in rule.when), None)
        if shows or self._away or rule is None or status.reason_code in _EXPECTED:
            return []
        if self._is_quiet("offline", "", status.at_s):
            return []
        self._away = self._create(status.at_s)
        self._away.add("offline", Severity(rule.severity))
        return [EventUpdate(EventChange.BEGUN, self._away.describe())]

    def retain_people(self, enrolled: Collection[str]) -> None:
        """Name nobody else from now on, also in the event that goes on; ids."""
        self._enrolled = enrolled
        if self._open:
            self._open.retain_people(enrolled)

    def change_classes(self, classes: Sequence[str]) -> None:
        """Read class ids by other names from now on; what goes on has names already."""
        self._classes = tuple(classes)
        if self._open:
            self._open.best_result = None  # its ids are of the names before

    def tick(self, now_s: float) -> list[EventUpdate]:
        """Take into account that it is ``now_s``, Unix seconds, whether frames come or not."""
        if self._open and now_s - self._open.active_s > LINGER_S:
            return self._end(self._open)
        return []

    def close(self) -> list[EventUpdate]:
        """End what goes on, since the camera is no longer watched."""
        updates = self._end(self._open) if self._open else []
        return updates + ([self._end_away(self._away)] if self._away else [])

    def _note_clock(self, frame: Frame) -> list[EventUpdate]:
        """End what goes on if somebody has set the clock: it would last as long as the step."""
        offset_s = frame.captured_s - frame.monotonic_s
        step_s = 0.0 if self._offset_s is None else offset_s - self._offset_s
        self._offset_s = offset_s
        if abs(step_s) < LINGER_S:
            return []
        updates = self._end(self._open) if self._open else []
        self._quiet_until_s.clear()
        for track in self._tracks.values():
            if track.rested_s is not None:
                track.rested_s += step_s
        return updates

    # --- what is seen ---------------------------------------------------------------------------

    def _count(self, result: FrameResult, at_s: float) -> None:
        tracks = result.tracks
        rows = zip(tracks.track_id.tolist(), tracks.class_id.tolist(), tracks.stationary.tolist(),
                   strict=True)  # fmt: skip
        for track_id, class_id, stationary in rows:
            track = self._tracks.setdefault(track_id, _Track(self._classes[class_id]))
            track.frames += 1
            if not stationary:
                track.rested_s = None
            elif track.rested_s is None:
                track.rested_s = at_s

    def _list_decisions(self, result: FrameResult) -> Iterator[tuple[int, str, KnownPerson | None]]:
        for row in result.decided:
            decision = result.decisions[row]
            trigger = _OUTCOMES.get(decision.outcome)
            if trigger:
                named = decision.outcome is Outcome.KNOWN
                person = KnownPerson(decision.person, decision.name) if named else None
                yield decision.track_id, trigger, person

    def _note_view(self, result: FrameResult) -> None:
        """Remember the frame if an object of the event is seen better than before."""
        event = self._open
        if event is None or not result.looked:
            return
        tracks = result.tracks
        for row, track_id in enumerate(tracks.track_id.tolist()):
            if track_id not in event.tracks:
                continue
            quality = measure_view(result, row, at_least=event.best_quality)
            if quality > event.best_quality:
                x1, y1, x2, y2 = tracks.xyxy[row].tolist()
                event.best_quality, event.best_result = quality, result
                event.best = BestView(
                    track_id, self._classes[int(tracks.class_id[row])], float(tracks.score[row]),
                    (x1, y1, x2, y2), result.frame.size_wh, result.frame.captured_s,
                )  # fmt: skip

    # --- what it triggers -----------------------------------------------------------------------

    def _trigger_change(self, change: TrackEvent, frame: Frame) -> list[EventUpdate]:
        track_id = change.track_id
        self._tracks.setdefault(track_id, _Track(self._classes[change.class_id]))
        word = str(change.change)
        updates = []
        if change.change is not TrackEventType.ENDED:
            trigger = f"{word}:{change.place}" if change.place else word
            updates = self._trigger_all(track_id, trigger, frame)
        else:
            del self._tracks[track_id]
        return updates

    def _trigger_all(
        self, track_id: int, trigger: str, frame: Frame, person: KnownPerson | None = None
    ) -> list[EventUpdate]:
        """Apply the rules to something that happened to a track."""
        track = self._tracks.get(track_id) or _Track(_PERSON, frames=1000)  # a face of nobody
        updates = []
        for rule in self.camera.events:
            if not _includes(rule, trigger):
                continue
            if rule.labels and track.label not in rule.labels:
                continue
            if track.frames < rule.min_frames:
                track.waiting.append((rule, trigger))
            else:
                updates += self._fire(rule, trigger, track_id, track.label, frame)
        may_name = person and (self._enrolled is None or person.person in self._enrolled)
        if person and may_name and self._open and track_id in self._open.tracks:
            self._open.name(person)
        return updates

    def _trigger_state(self, told: Classified, result: FrameResult) -> list[EventUpdate]:
        """Apply the rules to a place whose state has changed; it is in the picture of an event."""
        updates, trigger = [], _write_trigger("state", told)
        for rule in self.camera.events:
            if _includes(rule, trigger):
                updates += self._fire(rule, trigger, 0, "", result.frame)
        event = self._open
        if event and event.best is None and trigger in event.triggers:
            name = told.name.partition(".")[0]
            for state in self.camera.states:
                if state.name == name:
                    x1, y1, x2, y2 = bound(state.polygon, result.frame.size_wh).tolist()
                    event.best_quality, event.best_result = PLACE_QUALITY, result
                    event.best = BestView(
                        0, told.name, told.score, (x1, y1, x2, y2), result.frame.size_wh,
                        result.frame.captured_s,
                    )  # fmt: skip
        return updates

    def _trigger_waiting(self, track_id: int, frame: Frame) -> list[EventUpdate]:
        track = self._tracks.get(track_id)
        if track is None or not track.waiting:
            return []
        due = [(r, trigger) for r, trigger in track.waiting if track.frames >= r.min_frames]
        track.waiting = [pair for pair in track.waiting if pair not in due]
        return [
            update
            for rule, trigger in due
            for update in self._fire(rule, trigger, track_id, track.label, frame)
        ]

    def _fire(
        self, rule: EventRule, trigger: str, track_id: int, label: str, frame: Frame
    ) -> list[EventUpdate]:
        """A rule applies: begin an event, or add to the one that goes on."""
        at_s = frame.captured_s
        updates: list[EventUpdate] = []
        event = self._open
        if event and at_s - event.active_s > LINGER_S:  # over, though nothing has said so yet
            updates += self._end(event)
            event = None
        quiet = self._is_quiet(trigger, label, at_s)
        if event is None:
            if quiet:
                return updates
            event = self._open = self._create(at_s)
        if not quiet:
            event.cooling.setdefault((trigger, label), rule.cooldown_s)
        event.active_s = max(event.active_s, at_s)
        known = trigger in event.triggers
        severity = Severity.DETECTION if quiet and not known else Severity(rule.severity)
        event.add(trigger, severity, label, track_id)
        return updates

    def _is_quiet(self, trigger: str, label: str, at_s: float) -> bool:
        return at_s < self._quiet_until_s.get((trigger, label), float("-inf"))

    # --- the event that goes on -----------------------------------------------------------------

    def _create(self, at_s: float) -> OpenEvent:
        return OpenEvent(self._make_id(at_s), self.camera.name, at_s, at_s)

    def _follow(self, at_s: float) -> list[EventUpdate]:
        """Tell what is new of the event that goes on, or that it is over."""
        event = self._open
        if event is None:
            return []
        if any(self._is_active(track_id, at_s) for track_id in event.tracks):
            event.active_s = max(event.active_s, at_s)
        elif at_s - event.active_s > LINGER_S:
            return self._end(event)
        if not event.told_s:
            return [self._tell(event, EventChange.BEGUN, at_s)]
        is_better = event.best_quality > BETTER * event.told_quality
        if at_s - event.told_s >= TELL_S and (event.changed or is_better):
            return [self._tell(event, EventChange.UPDATED, at_s)]
        return []

    def _is_active(self, track_id: int, at_s: float) -> bool:
        track = self._tracks.get(track_id)
        return track is not None and (track.rested_s is None or at_s - track.rested_s < REST_S)

    def _tell(self, event: OpenEvent, change: EventChange, at_s: float) -> EventUpdate:
        is_better = event.best_quality > event.told_quality
        event.told_s, event.changed, event.told_quality = at_s, False, event.best_quality
        best = event.best_result if is_better else None
        event.best_result = None
        ended = change is EventChange.ENDED
        return EventUpdate(change, event.describe(ended=ended), best, self._classes)

    def _end(self, event: OpenEvent) -> list[EventUpdate]:
        updates = [] if event.told_s else [self._tell(event, EventChange.BEGUN, event.active_s)]
        for cooling, cooldown_s in event.cooling.items():
            self._quiet_until_s[cooling] = event.active_s + cooldown_s
        updates.append(self._tell(event, EventChange.ENDED, event.active_s))
        self._open = None
        return updates

    def _end_away(self, event: OpenEvent) -> EventUpdate:
        self._away = None
        rules = [rule for rule in self.camera.events if "offline" in rule.when]
        cooldown_s = max((rule.cooldown_s for rule in rules), default=0.0)
        self._quiet_until_s["offline", ""] = event.active_s + cooldown_s
        return EventUpdate(EventChange.ENDED, event.describe(ended=True))
