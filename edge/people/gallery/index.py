"""The index: exact search for the enrolled people nearest to a face.

A face is compared with one vector per person, all templates of the person fused (see `fusion`).
The products deliberately use numpy's own loops, not BLAS: one query is bound by memory, and
threads of BLAS on a busy machine made it wait 8 ms for 1 ms of work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.people.fusion import fuse
from edge.people.gallery.names import fold_name
from edge.types import F32, I32, I64, Bool

NO_PERSON = -1
UNIT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The nearest people of M faces.

    Attributes:
        person_row: ``(M,)`` int32, row of the nearest person in `Index.people`; -1 when no one
            is enrolled or the embedding is not a unit vector (contains NaN, for example).
        similarity: ``(M,)`` float32, cosine to that person, -1 without one.
        second: ``(M,)`` float32, cosine to the second-nearest person, -1 without one.
        vetoed: ``(M,)`` bool, a person would have been nearer, but one of that person's negative
            templates is nearer still; the other columns disregard such people.
    """

    person_row: I32
    similarity: F32
    second: F32
    vetoed: Bool

    @property
    def margin(self) -> F32:
        """``(M,)`` float32, similarity to the nearest person minus that to the second."""
        return self.similarity - self.second

    def __len__(self) -> int:
        """M."""
        return len(self.similarity)


@dataclass(frozen=True, slots=True)
class IndexedPerson:
    """A person in an index; the id is stable across renames."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """An immutable snapshot of the gallery, ready to be searched.

    Attributes:
        templates: ``(T, D)`` float32, unit length, sorted by person.
        starts: ``(P,)`` int64, first template of each person; each has at least one.
        fused: ``(P, D)`` float32, unit length: all templates of each person as one.
        negatives: ``(V, D)`` float32, unit length: negative templates.
        negative_of: ``(V,)`` int64, row of the person that each excludes.
    """

    people: tuple[IndexedPerson, ...]
    templates: F32
    starts: I64
    fused: F32
    negatives: F32
    negative_of: I64

    @classmethod
    def build(
        cls,
        people: Sequence[IndexedPerson],
        templates: Sequence[F32],
        negatives: Sequence[F32] = (),
        dimension: int = 0,
    ) -> Index:
        """Build an index of P people.

        Args:
            people: The people.
            templates: P times ``(t, D)``, t at least 1.
            negatives: P times ``(v, D)``, v may be 0; empty when there are none at all.
            dimension: D, needed when there may be no people.
        """
        none = np.zeros((0, dimension), np.float32)
        counts = [len(rows) for rows in templates]
        starts = np.cumsum([0, *counts[:-1]], dtype=np.int64)[: len(people)]
        negative_of = np.repeat(np.arange(len(negatives)), [len(rows) for rows in negatives])
        return cls(
            tuple(people),
            np.concatenate(templates) if counts else none,
            starts,
            np.stack([fuse(rows) for rows in templates]) if counts else none,
            np.concatenate([none, *(rows for rows in negatives if len(rows))]),
            negative_of,
        )

    def __len__(self) -> int:
        """P."""
        return len(self.people)

    def without(self, name: str) -> Index:
        """The index without a person (name in any case, or id) and without negatives."""
        rows = [
            row
            for row, known in enumerate(self.people)
            if name != known.id and fold_name(name) != fold_name(known.name)
        ]
        templates = np.split(self.templates, self.starts[1:])
        return Index.build(
            [self.people[row] for row in rows],
            [templates[row] for row in rows],
            dimension=self.templates.shape[1],
        )

    def search(self, embeddings: F32) -> Matches:
        """Compare ``(M, D)`` float32 of unit length with everybody."""
        rows = [self._nearest(embedding) for embedding in embeddings]
        person, similarity, second, vetoed = zip(*rows, strict=True) if rows else ((),) * 4
        return Matches(
            np.array(person, np.int32),
            np.array(similarity, np.float32),
            np.array(second, np.float32),
            np.array(vetoed, np.bool_),
        )

    def similarities(self, embedding: F32) -> F32:
        """``(D,)`` -> ``(P,)`` cosine to each person."""
        cosine: F32 = np.einsum("pd,d->p", self.fused, embedding)
        return cosine

    def _nearest(self, embedding: F32) -> tuple[int, float, float, bool]:
        length = float(np.linalg.norm(embedding))
        if not self.people or not abs(length - 1) <= UNIT_TOLERANCE:
            return NO_PERSON, -1.0, -1.0, False
        best = self.similarities(embedding)  # (P,)
        first = int(best.argmax())
        if len(self.negatives):
            to_negatives = np.einsum("vd,d->v", self.negatives, embedding)
            nearer = to_negatives >= best[self.negative_of]
            best[self.negative_of[nearer]] = -1
        row = int(best.argmax())
        similarity = float(best[row])
        best[row] = -1
        second = float(best.max())
        vetoed = row != first or similarity == -1
        return (NO_PERSON if similarity == -1 else row), similarity, second, vetoed
