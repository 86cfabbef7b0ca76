"""The distillation set: faces to learn from, with person and teacher embedding of each.

The first faces are the portraits as they are. The others are synthesized from them and show no
known person (person -1). The teacher embeds each face once; a cache keeps the embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.atomic_file import replace_file
from edge.models.embedder import ContractEmbedder
from edge.types import F32, I64, U8
from trainers.augment.face_synthesis import FaceSynthesizer, degrade
from trainers.data.portraits import Portraits

_CHUNK = 256  # faces that the teacher embeds between two steps of the progress bar


@dataclass(frozen=True, slots=True, eq=False)
class DistillationSet:
    """N faces to learn from.

    Attributes:
        crops: ``(N, 112, 112, 3)`` uint8 RGB.
        person: ``(N,)`` index of the person, -1 for no known person.
        teacher: ``(N, D)`` float32 teacher embeddings of unit length; zeros without a teacher.
    """

    crops: U8
    person: I64
    teacher: F32

    def __len__(self) -> int:
        return len(self.person)


def synthesize_faces(portraits: Portraits, count: int, seed: int, change: FaceSynthesizer) -> U8:
    """``(count, 112, 112, 3)``: the portraits, then faces synthesized from each in turn."""
    source, rng = portraits.crops, np.random.default_rng(seed)
    crops = np.empty((count, *source.shape[1:]), np.uint8)
    for row in range(count):
        first = source[row % len(source)]
        second = source[rng.integers(len(source))]
        crops[row] = first if row < len(source) else change(first, second, rng)
    return crops


def build_distillation_set(
    portraits: Portraits, train_people: set[int], teacher: ContractEmbedder | None, count: int,
    seed: int = 0, cache: Path | None = None, change: FaceSynthesizer | None = None,
) -> DistillationSet:  # fmt: skip
    """Build a distillation set of at least the portraits.

    ``count`` faces need a teacher; without one no faces are synthesized. Only the identities of
    ``train_people`` are learned. ``cache`` is a folder that keeps the teacher's embeddings.
    """
    count = max(count, len(portraits)) if teacher else len(portraits)
    crops = synthesize_faces(portraits, count, seed, change or FaceSynthesizer())
    person = np.full(count, -1, np.int64)
    known = np.isin(portraits.person, sorted(train_people))
    person[: len(portraits)] = np.where(known, portraits.person, -1)
    if teacher is None:
        return DistillationSet(crops, person, np.zeros((count, 1), np.float32))
    return DistillationSet(crops, person, _embed(crops, teacher, cache))


def _embed(crops: U8, teacher: ContractEmbedder, cache: Path | None) -> F32:
    from rich.console import Console
    from rich.progress import track

    key = hashlib.sha256(teacher.sha256.encode() + crops.tobytes()).hexdigest()[:24]
    file = cache / f"taught-{key}.npy" if cache else None
    if file and file.is_file():
        cached: F32 = np.load(file)
        return cached
    console = Console(stderr=True)
    steps = track(
        range(0, len(crops), _CHUNK), "embedding with the teacher", console=console,
        transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    embeddings = np.concatenate([teacher.embed(crops[row : row + _CHUNK]) for row in steps])
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file, suffix=".npy") as part:
            np.save(part, embeddings)
    return embeddings


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch and an epoch consist of.

    Attributes:
        people: Known people per batch; 0 draws from the whole set only.
        images_per_person: Images of each of them.
        others: Further images per batch, drawn from the whole set.
        images: Images per epoch.
        degraded: Fraction of images degraded as by a worse camera.
    """

    people: int
    images_per_person: int
    others: int
    images: int
    degraded: float = 0.5
    seed: int = 0

    @property
    def batch(self) -> int:
        """B."""
        return self.people * self.images_per_person + self.others


class BalancedBatches:
    """Batches in which every known person has as many images as any other.

    Each batch of each epoch has a random generator of its own, so a resumed run sees what an
    uninterrupted one would have seen.
    """

    def __init__(self, faces: DistillationSet, plan: BatchPlan) -> None:
        self._faces, self._plan = faces, plan
        rows = [np.flatnonzero(faces.person == p) for p in np.unique(faces.person) if p >= 0]
        self._rows = [own for own in rows if len(own) >= 2]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self._plan.images // self._plan.batch)

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.random.Generator]]:
        """Epoch, step and random generator of each batch of an epoch."""
        for step in range(self.steps):
            yield epoch, step, np.random.default_rng((self._plan.seed, epoch, step))

    def make(
        self, epoch: int, step: int, chosen: np.random.Generator  # noqa: ARG002
    ) -> tuple[U8, dict[str, Any]]:  # fmt: skip
        """Faces ``(B, 112, 112, 3)``, and person ``(B,)`` and teacher ``(B, D)``."""
        rng = chosen
        rows = np.fromiter(self._choose(rng), np.int64)
        crops = self._faces.crops[rows]
        for row in np.flatnonzero(rng.random(len(rows)) < self._plan.degraded):
            crops[row] = degrade(crops[row], rng)
        return crops, {
            "person": self._faces.person[rows].astype(np.int32),
            "teacher": self._faces.teacher[rows],
        }

    def _choose(self, rng: np.random.Generator) -> Iterator[int]:
        plan = self._plan
        people = min(plan.people, len(self._rows))
        for which in rng.choice(len(self._rows), people, replace=False) if people else ():
            own, count = self._rows[which], plan.images_per_person
            yield from rng.choice(own, count, replace=len(own) < count).tolist()
        yield from rng.integers(len(self._faces), size=plan.others).tolist()
