"""Subjects: things that a classifier looks at from time to time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge.classification.evidence import Evidence, Rules
from edge.ports import Classifier
from edge.types import F32, UNDECIDED, Classified

NO, YES = "no", "yes"


@dataclass(slots=True)
class _Question:
    """One thing that is asked about a subject.

    Attributes:
        column: Of the probabilities, for an independent label; None for classes of which one holds.
        told: The value that was told last.
        decided: The value that was decided last; empty before the first.
        before: The value that was decided when ``told`` was told.
    """

    name: str
    values: tuple[str, ...]
    column: int | None
    evidence: Evidence
    told: str = UNDECIDED
    decided: str = ""
    before: str = ""

    def add(self, probabilities: F32) -> None:
        if self.column is None:
            self.evidence.add(probabilities)
        else:
            holds = float(probabilities[self.column])
            self.evidence.add(np.array([1 - holds, holds], np.float32))

    @property
    def value(self) -> str:
        value = self.evidence.value
        return UNDECIDED if value is None else self.values[value]

    def take_news(self) -> bool:
        """Whether the value is another one than was told last; from now on it was told."""
        value = self.value
        if value == self.told:
            return False
        self.told, self.before = value, self.decided
        if value != UNDECIDED:
            self.decided = value
        return True

    def describe(self) -> Classified:
        evidence = self.evidence
        return Classified(
            self.name, self.value, evidence.score, evidence.votes, len(evidence), self.before
        )


@dataclass(slots=True)
class Subject:
    """An object or a place, and what one classifier says of it.

    Attributes:
        every_s: Interval at which it is looked at while something of it is in doubt, in seconds.
        refresh_s: Interval otherwise.
        looked_s: When it was looked at last, monotonic seconds.
    """

    classifier: Classifier
    every_s: float
    refresh_s: float
    looked_s: float = -math.inf
    _slot_s: float = -math.inf
    _questions: tuple[_Question, ...] = ()
    _known: tuple[Classified, ...] = ()

    @classmethod
    def ask(
        cls, name: str, classifier: Classifier, rules: Rules, every_s: float, refresh_s: float
    ) -> Subject:
        """A subject that nobody has looked at yet; ``name`` is of the attribute or state."""
        questions = tuple(
            _Question(question, values, column, Evidence(rules))
            for question, values, column in list_questions(name, classifier)
        )
        return cls(classifier, every_s, refresh_s, _questions=questions)

    def is_due(self, now_s: float) -> bool:
        """Whether to look at it now."""
        return not self.looked_s <= now_s < self._slot_s + self._wait_s

    def note_look(self, now_s: float) -> None:
        """Count a look. Late frames do not add up: the interval holds on average."""
        planned_s = self._slot_s + self._wait_s
        self._slot_s = planned_s if 0 <= now_s - planned_s < self._wait_s else now_s
        self.looked_s = now_s

    @property
    def _wait_s(self) -> float:
        return self.refresh_s if self.is_settled else self.every_s

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is in doubt."""
        return all(question.evidence.is_settled for question in self._questions)

    def add(self, probabilities: F32) -> None:
        """Take a look into account, ``(K,)``; one that gave NaN says nothing."""
        if np.isfinite(probabilities).all():
            for question in self._questions:
                question.add(probabilities)
            self._known = tuple(question.describe() for question in self._questions)

    def describe(self) -> tuple[Classified, ...]:
        """What is known; nothing before the first look. From any thread."""
        return self._known

    def take_news(self) -> tuple[Classified, ...]:
        """What has changed since it was asked last; that something is not decided yet is none."""
        news = tuple(q.describe() for q in self._questions if q.take_news())
        if news:
            self._known = tuple(question.describe() for question in self._questions)
        return news

    def withdraw(self) -> tuple[Classified, ...]:
        """What was told and holds no longer, since nobody will look at it any more."""
        asked, self._questions = self._questions, ()  # nor does a look count that goes on
        return tuple(
            Classified(q.name, UNDECIDED, 0.0, 0, 0, q.decided)
            for q in asked
            if q.told != UNDECIDED
        )


def list_questions(
    name: str, classifier: Classifier
) -> Iterator[tuple[str, tuple[str, ...], int | None]]:
    """What a classifier answers as ``name``: each question, its values, and its column, if one."""
    if not classifier.independent:
        yield name, classifier.classes, None
        return
    for column, label in enumerate(classifier.classes):
        yield f"{name}.{label}", (NO, YES), column
