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
from edge.ports import Embedder, FaceFinder
from edge.types import F32

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
    """

    finder: FaceFinder
    embedder: Embedder
    gallery: Gallery
    until: date | None
    replace: bool
    allow_duplicates: bool

    def add_photos(self, name: str, photos: Iterable[Path]) -> EnrollmentResult:
        """Enroll one person with all usable photos, in one transaction."""
        others = self.gallery.index().without(name)
        used, refused = [], []
        for photo in photos:
            try:
                used.append(self._make_template(photo, others))
            except PhotoError as error:
                refused.append(RefusedPhoto(str(photo), error.problem))
        if used:
            self._store(name, np.stack(used))
        return EnrollmentResult(name, len(used), tuple(refused))

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
            name, templates, consent=True, until=self.until, replace_templates=self.replace
        )

    def _make_template(self, photo: Path, others: Index) -> F32:
        """``(D,)`` of the face in a photo; a `PhotoError` if it cannot be enrolled."""
        template: F32 = self.embedder.embed(read_face(self.finder, photo).crop[None])[0]
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
