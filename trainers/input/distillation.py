"""Lessons: faces to learn from, each with the person it shows and what a teacher says about it.

The first lessons are the portraits as they are, the others disguises of them, which show nobody
in particular (person -1). The teacher is asked once; a cache keeps what it said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.models.embedder import ContractEmbedder
from edge.types import F32, I64, U8
from trainers.augment.face_synthesis import Disguise, degrade
from trainers.data.portraits import Portraits

_PART = 256  # faces that the teacher sees between two steps of the progress


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """N faces to learn from.

    Attributes:
        crops: ``(N, 112, 112, 3)`` uint8 RGB.
        person: ``(N,)`` index of the person, -1 for nobody in particular.
        taught: ``(N, D)`` float32 of unit length; all zero without a teacher.
    """

    crops: U8
    person: I64
    taught: F32

    def __len__(self) -> int:
        """N."""
        return len(self.person)


def disguised(portraits: Portraits, count: int, seed: int, change: Disguise) -> U8:
    """``(count, 112, 112, 3)``: the portraits, then disguises of them by turns."""
    source, rng = portraits.crops, np.random.default_rng(seed)
    crops = np.empty((count, *source.shape[1:]), np.uint8)
    for row in range(count):
        first = source[row % len(source)]
        second = source[rng.integers(len(source))]
        crops[row] = first if row < len(source) else change(first, second, rng)
    return crops


def lessons_of(
    portraits: Portraits, learners: set[int], teacher: ContractEmbedder | None, count: int,
    seed: int = 0, cache: Path | None = None, change: Disguise | None = None,
) -> Lessons:  # fmt: skip
    """Make lessons.

    Args:
        portraits: of everybody whose face may be shown.
        learners: of them, whose names are learned.
        teacher: an adopted embedder; without one there are no disguises.
        count: of the lessons; at least the portraits.
        seed: of the disguises.
        cache: folder that keeps the teacher's answers.
        change: what makes a disguise.
    """
    count = max(count, len(portraits)) if teacher else len(portraits)
    crops = disguised(portraits, count, seed, change or Disguise())
    person = np.full(count, -1, np.int64)
    known = np.isin(portraits.person, sorted(learners))
    person[: len(portraits)] = np.where(known, portraits.person, -1)
    if teacher is None:
        return Lessons(crops, person, np.zeros((count, 1), np.float32))
    return Lessons(crops, person, _asked(crops, teacher, cache))


def _asked(crops: U8, teacher: ContractEmbedder, cache: Path | None) -> F32:
    from rich.console import Console
    from rich.progress import track

    key = hashlib.sha256(teacher.sha256.encode() + crops.tobytes()).hexdigest()[:24]
    file = cache / f"taught-{key}.npy" if cache else None
    if file and file.is_file():
        kept: F32 = np.load(file)
        return kept
    console = Console(stderr=True)
    steps = track(
        range(0, len(crops), _PART), "asking the teacher", console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    taught = np.concatenate([teacher.embed(crops[row : row + _PART]) for row in steps])
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")
        np.save(part, taught)
        part.replace(file)
    return taught


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch holds.

    Attributes:
        people: how many people appear with their names; 0 draws from all lessons alike.
        each: pictures of each of them.
        others: lessons beside them, whoever they show.
        pictures: an epoch's.
        worse: share that a worse camera takes.
        seed: of the choice.
    """

    people: int
    each: int
    others: int
    pictures: int
    worse: float = 0.5
    seed: int = 0

    @property
    def batch(self) -> int:
        """B."""
        return self.people * self.each + self.others


class Balanced(keras.utils.PyDataset):
    """Batches of lessons in which every person has as many pictures as any other.

    Batch ``i`` of epoch ``e`` has a random generator of its own, so a resumed run sees what an
    unbroken one would have seen.
    """

    def __init__(self, lessons: Lessons, plan: Plan, epoch: int = 0) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._lessons, self._plan, self._epoch = lessons, plan, epoch
        rows = [np.flatnonzero(lessons.person == p) for p in np.unique(lessons.person) if p >= 0]
        self._rows = [own for own in rows if len(own) >= 2]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._plan.pictures // self._plan.batch)

    def __getitem__(self, index: int) -> tuple[U8, dict[str, Any]]:
        """Faces ``(B, 112, 112, 3)``, and person ``(B,)`` and taught ``(B, D)``."""
        rng = np.random.default_rng((self._plan.seed, self._epoch, index))
        rows = np.fromiter(self._chosen(rng), np.int64)
        crops = self._lessons.crops[rows]
        for place in np.flatnonzero(rng.random(len(rows)) < self._plan.worse):
            crops[place] = degrade(crops[place], rng)
        return crops, {
            "person": self._lessons.person[rows].astype(np.int32),
            "taught": self._lessons.taught[rows],
        }

    def _chosen(self, rng: np.random.Generator) -> Iterator[int]:
        plan = self._plan
        many = min(plan.people, len(self._rows))
        for which in rng.choice(len(self._rows), many, replace=False) if many else ():
            own = self._rows[which]
            yield from rng.choice(own, plan.each, replace=len(own) < plan.each).tolist()
        yield from rng.integers(len(self._lessons), size=plan.others).tolist()

    def on_epoch_end(self) -> None:
        """The next epoch draws anew."""
        self._epoch += 1
