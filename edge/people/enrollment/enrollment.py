"""Enrollment: photos or a passed challenge become a person's templates, unless they show another
enrolled person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from edge.people.enrollment.challenge import ChallengeError
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.index import Index
from edge.people.gallery.names import fold_name
from edge.ports import Embedder, FaceFinder
from edge.types import F32, I32, Bool

# How far above the threshold another person's pictures count as a mistake, as a ratio of what is
# left to 1. Measured: 0 of 1186 television frames of 250 people.
DUPLICATE_RATIO = 0.4


def compute_duplicate_threshold(threshold: float) -> float:
    """Similarity from which two pictures are taken to show one person, rightly or not."""
    return threshold + DUPLICATE_RATIO * (1 - threshold)


@dataclass(frozen=True, slots=True)
class RefusedPhoto:
    """A photo that was not used, and why."""

    photo: str
    reason: str


@dataclass(frozen=True, slots=True)
class EnrollmentResult:
    """What became of one person's photos; ``used`` counts the templates that were stored."""

    name: str
    used: int
    refused: tuple[RefusedPhoto, ...]


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Enrolls people in a gallery.

    Attributes:
        until: Last day to keep the data.
        replace: Drop the templates a person had before.
        allow_duplicates: Accept faces that resemble another person.
        allow_dissimilar: Accept faces that do not resemble the person's other faces.
        boxes: Boxes of a fleet at which the consent holds; None leaves them as they were.
    """

    finder: FaceFinder
    embedder: Embedder
    gallery: Gallery
    until: date | None
    replace: bool
    allow_duplicates: bool
    allow_dissimilar: bool = False
    boxes: tuple[str, ...] | None = None

    def add_photos(self, name: str, photos: Iterable[Path]) -> EnrollmentResult:
        """Enroll one person with all usable photos, in one transaction."""
        index = self.gallery.index()
        others = index.without(name)
        read: list[tuple[Path, F32]] = []
        refused: list[RefusedPhoto] = []
        for photo in photos:
            try:
                read.append((photo, self._make_template(photo, others)))
            except PhotoError as error:
                refused.append(RefusedPhoto(str(photo), error.problem))
        if read:
            before = _known_templates(index, name)[: 0 if self.replace else None]
            templates = np.stack([template for _, template in read])
            reasons = self._find_strangers(templates, before)
            refused += [
                RefusedPhoto(str(photo), reason)
                for (photo, _), reason in zip(read, reasons, strict=True)
                if reason
            ]
            read = [one for one, reason in zip(read, reasons, strict=True) if not reason]
        if read:
            self._store(name, np.stack([template for _, template in read]))
        return EnrollmentResult(name, len(read), tuple(refused))

    def _find_strangers(self, templates: F32, before: F32) -> list[str]:
        """Why each of ``(N, D)`` is another person than most, or than ``(B, D)``; empty if none.

        Faces that resemble each other, directly or through others, are one person's. Those who
        were enrolled before decide who is meant, else the largest group of faces.
        """
        every = np.concatenate([before, templates])
        every = every / np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-12)
        similarity = np.einsum("id,jd->ij", every, every)
        group = _group(similarity >= self.embedder.threshold)
        count = np.bincount(group)
        largest = np.flatnonzero(count == count.max())
        chosen = {int(g) for g in (group[: len(before)] if len(before) else largest)}
        if self.allow_dissimilar or len(count) == 1:
            return [""] * len(templates)
        sure = bool(len(before)) or len(chosen) == 1
        np.fill_diagonal(similarity, -1)
        member = np.array([sure and g in chosen for g in group])
        rest = member if sure else np.ones(len(every), bool)
        return [
            ""
            if member[row]
            else f"resembles the other pictures of this name by {similarity[row, rest].max():.2f}, "
            f"less than {self.embedder.threshold:.2f}: is it the same person?"
            for row in range(len(before), len(every))
        ]

    def add_live(self, name: str, templates: F32) -> EnrollmentResult:
        """Enroll one person with ``(T, D)`` templates of a challenge that was passed.

        Raises:
            ChallengeError: It is another enrolled person's face.
        """
        others = self.gallery.index().without(name)
        for template in templates:
            if duplicate := self._find_duplicate(template, others):
                raise ChallengeError(f"no one was enrolled: {duplicate}; twins: --allow-duplicates")
        self._store(name, templates)
        return EnrollmentResult(name, len(templates), ())

    def _store(self, name: str, templates: F32) -> None:
        self.gallery.enroll(
            name, templates, consent=True, until=self.until, replace_templates=self.replace,
            boxes=self.boxes,
        )  # fmt: skip

    def _make_template(self, photo: Path, others: Index) -> F32:
        """``(D,)`` of the face in a photo; a `PhotoError` if it cannot be enrolled."""
        face = read_face(self.finder, photo, resampling=self.embedder.resampling)
        template: F32 = self.embedder.embed(face.crop[None])[0]
        if duplicate := self._find_duplicate(template, others):
            raise PhotoError(duplicate, file=photo)
        return template

    def _find_duplicate(self, template: F32, others: Index) -> str:
        """Which other person ``(D,)`` resembles, in words; empty if none."""
        match = others.search(template[None])
        threshold = compute_duplicate_threshold(self.embedder.threshold)
        if self.allow_duplicates or not match.similarity[0] >= threshold:
            return ""
        other = others.people[match.person_row[0]].name
        return f"near-duplicate of {other} (similarity {match.similarity[0]:.2f})"


def _known_templates(index: Index, name: str) -> F32:
    """``(B, D)`` of the person of this name, B is 0 if there is none."""
    for row, person in enumerate(index.people):
        if fold_name(person.name) == fold_name(name):
            return np.split(index.templates, index.starts[1:])[row]
    return index.templates[:0]


def _group(alike: Bool) -> I32:
    """``(N, N)`` which resemble each other -> ``(N,)`` the group of each, 0, 1, 2 .."""
    group = np.full(len(alike), -1, np.int32)
    for first in range(len(alike)):
        if group[first] >= 0:
            continue
        member = np.zeros(len(alike), bool)
        member[first] = True
        while (grown := member | alike[member].any(0)).sum() > member.sum():
            member = grown
        group[member] = group.max() + 1
    return group
