"""The observer: when classifiers look at objects and places, and what they say of them.

Attributes are of tracked objects, states of fixed places. What is due is looked at in one batch per
classifier, across cameras: each place in its interval, and no more objects than an attribute's
budget, first those of which it is not decided, then those that waited longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge.classification.evidence import Rules
from edge.classification.subject import Subject
from edge.config import Attribute, Camera, ModelFile, State
from edge.ports import Classifier
from edge.types import (
    F32,
    Bool,
    Classified,
    Frame,
    FrameResult,
    TrackEvent,
    TrackEventType,
)
from edge.vision.labels import class_mask
from edge.vision.polygons import bound

MIN_SIDE_PX = 12  # of an object: in less nobody sees anything
Classifiers = Mapping[ModelFile, Classifier]


@dataclass(frozen=True, slots=True)
class _AskedAttribute:
    """An attribute as configured, with what answers it.

    Attributes:
        of: ``(C,)``: of which classes it is asked.
    """

    settings: Attribute
    classifier: Classifier
    of: Bool

    def ask(self) -> Subject:
        s = self.settings
        rules = Rules(s.min_votes, s.min_score)
        return Subject.ask(s.name, self.classifier, rules, s.every_s, s.refresh_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A place as configured, and what is known of it."""

    settings: State
    subject: Subject

    @classmethod
    def ask(cls, settings: State, classifier: Classifier) -> _Place:
        rules = Rules(settings.min_votes, settings.min_score)
        every_s = settings.every_s
        subject = Subject.ask(settings.name, classifier, rules, every_s, every_s)
        return cls(settings, subject)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A look that is to be taken: at a box ``(4,)`` of a frame, source pixels."""

    subject: Subject
    frame: Frame
    xyxy: F32


@dataclass(slots=True)
class _CameraObjects:
    """What is known of the objects of one camera.

    Attributes:
        subjects: By track, one for each attribute that is asked of it, by the attribute's row.
    """

    epoch: int = -1
    subjects: dict[int, dict[int, Subject]] = field(default_factory=dict)

    def begin(self, result: FrameResult) -> None:
        """Forget the objects that are gone."""
        if result.frame.epoch != self.epoch:
            self.epoch = result.frame.epoch
            self.subjects.clear()
        self.forget(result.changes)

    def forget(self, changes: Iterable[TrackEvent]) -> None:
        """Forget the objects whose tracks ended."""
        for change in changes:
            if change.change is TrackEventType.ENDED:
                self.subjects.pop(change.track_id, None)

    def list_looks(self, result: FrameResult, row: int, asked: _AskedAttribute) -> Iterator[_Look]:
        """Looks at the objects in a frame of which the attribute ``row`` is asked."""
        if not result.looked or result.frame.blind:
            return
        tracks = result.tracks
        sides = tracks.xyxy[:, 2:] - tracks.xyxy[:, :2]
        wanted = asked.of[tracks.class_id] & (sides >= MIN_SIDE_PX).all(axis=1)
        for n in np.flatnonzero(wanted).tolist():
            subjects = self.subjects.setdefault(int(tracks.track_id[n]), {})
            subject = subjects.get(row)
            if subject is None:
                subject = subjects[row] = asked.ask()
            yield _Look(subject, result.frame, tracks.xyxy[n])


class Observer:
    """Asks classifiers about objects and places.

    `look` may be called by several threads at a time if no two of them look at the same camera.

    Args:
        attributes: What is asked of objects.
        classifiers: The models that attributes and states name, by their file.
        classes: Class names by the class_id of the objects.

    Attributes:
        count: Called with the name of an attribute or state and the number of looks; must be quick.

    Raises:
        ConfigError: The detector does not know a class.
    """

    def __init__(
        self,
        attributes: Sequence[Attribute] = (),
        classifiers: Classifiers | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.count: Callable[[str, int], None] = lambda _name, _looks: None
        self._classifiers: Classifiers = classifiers or {}
        self._attributes = [
            _AskedAttribute(
                settings, self._classifiers[settings.model],
                class_mask(settings.of, classes, "", f"attributes[{row}].of"),
            )
            for row, settings in enumerate(attributes)
        ]  # fmt: skip
        self._objects: dict[str, _CameraObjects] = {}
        self._places: Mapping[str, Sequence[_Place]] = {}

    def watch(
        self, cameras: Sequence[Camera], renewed: frozenset[str] = frozenset()
    ) -> list[tuple[str, Classified]]:
        """Set the cameras; of those not in ``renewed`` places go on whose settings are the same.

        Returns:
            Cameras, and what was told of their places and holds no longer.
        """
        before, places = self._places, dict[str, Sequence[_Place]]()
        for camera in cameras:
            known = {} if camera.name in renewed else self._index(camera.name)
            places[camera.name] = [
                known.get(state) or _Place.ask(state, self._classifiers[state.model])
                for state in camera.states
            ]
        self._places = places
        self._objects = {n: o for n, o in self._objects.copy().items() if n in places}
        return [
            (name, told)
            for name, left in before.items()
            for place in left
            if place not in places.get(name, ())
            for told in place.subject.withdraw()
        ]

    def _index(self, camera: str) -> dict[State, _Place]:
        """The places of a camera that the same classifier answers as before, by their settings."""
        return {
            place.settings: place
            for place in self._places.get(camera, ())
            if place.subject.classifier is self._classifiers.get(place.settings.model)
        }

    def take_over(self, other: Observer) -> None:
        """Go on with what another one knows and this one asks as well; not while either looks."""
        self.count = other.count
        rows = {
            theirs: mine
            for theirs, asked in enumerate(other._attributes)
            for mine, own in enumerate(self._attributes)
            if asked.settings == own.settings and asked.classifier is own.classifier
        }
        for name, objects in other._objects.items():
            subjects = {
                track: {rows[row]: subject for row, subject in asked.items() if row in rows}
                for track, asked in objects.subjects.items()
            }
            self._objects[name] = _CameraObjects(objects.epoch, subjects)
        self._places = other._places  # `watch` chooses those that go on

    def forget(self, camera: str, changes: Iterable[TrackEvent]) -> None:
        """Forget the objects of a camera whose tracks ended; not while it is looked at."""
        if objects := self._objects.get(camera):
            objects.forget(changes)

    def list_states(self) -> list[tuple[str, Classified]]:
        """Cameras, and what is known of their places; from any thread."""
        return [
            (name, state)
            for name, places in self._places.items()
            for place in places
            for state in place.subject.describe()
        ]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked."""
        return not self._attributes and not any(self._places.values())

    # --- looking --------------------------------------------------------------------------------

    def look(self, results: Sequence[FrameResult]) -> list[FrameResult]:
        """One result per camera -> the same with attributes and states, in the same order."""
        places = self._places
        objects = [self._follow(result) for result in results]
        seen = list(zip(objects, results, strict=True))
        looks = list(self._choose_places(results, places))
        for row, asked in enumerate(self._attributes):
            looks += self._choose_objects(seen, row, asked)
        self._take(looks)
        return [
            _describe(result, known, places.get(result.frame.camera, ()))
            for known, result in zip(objects, results, strict=True)
        ]

    def _follow(self, result: FrameResult) -> _CameraObjects:
        """What is known of the objects in a frame, without those that are gone."""
        camera = result.frame.camera
        objects = self._objects.get(camera)
        if objects is None:
            objects = self._objects[camera] = _CameraObjects()
        objects.begin(result)
        return objects

    def _choose_places(
        self, results: Sequence[FrameResult], places: Mapping[str, Sequence[_Place]]
    ) -> Iterator[_Look]:
        for result in results:
            frame = result.frame
            if frame.blind:
                continue
            for place in places.get(frame.camera, ()):
                if place.subject.is_due(frame.monotonic_s):
                    self.count(place.settings.name, 1)
                    box = bound(place.settings.polygon, frame.size_wh)
                    yield _Look(place.subject, frame, box)

    def _choose_objects(
        self,
        results: Sequence[tuple[_CameraObjects, FrameResult]],
        row: int,
        asked: _AskedAttribute,
    ) -> Sequence[_Look]:
        """The objects to look at within the budget of an attribute."""
        due = [
            look
            for objects, result in results
            for look in objects.list_looks(result, row, asked)
            if look.subject.is_due(look.frame.monotonic_s)
        ]
        due.sort(key=lambda look: (look.subject.is_settled, look.subject.looked_s))
        frames = sum(result.looked for _, result in results)
        chosen = due[: frames * asked.settings.max_looks_per_frame]
        if chosen:
            self.count(asked.settings.name, len(chosen))
        return chosen

    def _take(self, looks: Sequence[_Look]) -> None:
        """Look, in one batch per classifier."""
        for look in looks:
            look.subject.note_look(look.frame.monotonic_s)
        by_classifier: dict[int, list[_Look]] = {}
        for look in looks:
            by_classifier.setdefault(id(look.subject.classifier), []).append(look)
        for same in by_classifier.values():
            classifier = same[0].subject.classifier
            crops = np.stack([classifier.cut(look.frame.picture, look.xyxy) for look in same])
            for look, row in zip(same, classifier.classify(crops), strict=True):
                look.subject.add(row)


def _describe(
    result: FrameResult, objects: _CameraObjects, places: Sequence[_Place]
) -> FrameResult:
    """A result with what is known of its objects and places."""
    asked = [
        tuple(objects.subjects.get(track, {}).values()) for track in result.tracks.track_id.tolist()
    ]
    return replace(
        result,
        told_attributes=tuple(
            (row, news) for row, each in enumerate(asked) for s in each for news in s.take_news()
        ),
        attributes=tuple(tuple(said for s in each for said in s.describe()) for each in asked),
        told_states=tuple(news for place in places for news in place.subject.take_news()),
        states=tuple(said for place in places for said in place.subject.describe()),
    )
