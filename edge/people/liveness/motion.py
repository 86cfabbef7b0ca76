"""Motion: a face that moved as no flat picture can, or moved about as a flat picture does.

Looks are compared with the first ones by `planarity`. A face that stirs and yet is as alike as two
views of a flat picture, look after look, is held, too: of real faces, looks some time apart leave
0.40 and more, of photographs 0.07 at most (decision 051). So is one that has not moved at all
(`stillness`).
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np

from edge.people.liveness.planarity import is_flat, is_nonplanar, make_thumbnail
from edge.people.liveness.stillness import Stillness
from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32

MIN_NONPLANAR = 2  # a crop that is turned too far to be registered differs, but is only one
MIN_PLANAR = 4
MIN_FLAT, CLEAR = 5, 4  # looks that are as alike as flat pictures, and times as many as others
STIRRED = 0.1  # eye distances; less may be the noise of the points
MAX_THUMBNAILS = 3
MOVED = 0.35  # eye distances by which a face has been moved about, or turned or grown as much
LIFE = Testimony(picture=3.0)
HELD = Testimony(picture=-2.0)


class MotionWitness:
    """Compares each look with the first ones."""

    name: ClassVar[str] = "motion"

    def __init__(self) -> None:
        self._first: deque[tuple[F32, F32]] = deque(maxlen=MAX_THUMBNAILS)  # thumbnail, landmarks
        self._stillness = Stillness()
        self._nonplanar = self._planar = self._flat = self._bent = 0

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        if self._nonplanar >= MIN_NONPLANAR:
            return True
        self._stillness.look(look)
        thumbnail = make_thumbnail(look.crop)
        if self._first:
            if all(is_nonplanar(old, thumbnail) for old, _ in self._first):
                self._nonplanar += 1
            else:
                self._weigh_planar(thumbnail, look.landmarks)
        if len(self._first) < MAX_THUMBNAILS:
            self._first.append((thumbnail, look.landmarks))
        return True

    def _weigh_planar(self, thumbnail: F32, landmarks: F32) -> None:
        """Count a look by how well it is explained by an earlier one from where the face moved."""
        self._planar += _is_far(self._first[0][1], landmarks, MOVED)
        stirred = (first for first, points in self._first if _is_far(points, landmarks, STIRRED))
        if (first := next(stirred, None)) is not None:
            flat = is_flat(first, thumbnail)
            self._flat += flat
            self._bent += not flat

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        if self._nonplanar >= MIN_NONPLANAR:
            return LIFE
        if self._nonplanar:
            return SILENCE
        is_flat = self._flat >= MIN_FLAT and self._flat >= CLEAR * self._bent
        is_held = self._planar >= MIN_PLANAR or self._stillness.is_still
        return HELD if is_flat or is_held else SILENCE


def _is_far(one: F32, other: F32, least: float) -> bool:
    """Whether one of five points moved by at least so many eye distances."""
    eyes_px = float(np.linalg.norm(one[1] - one[0]))
    moved_px = float(np.linalg.norm(other - one, axis=1).max())
    return moved_px > least * eyes_px
