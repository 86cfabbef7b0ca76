"""Motion: a face that moved as no flat picture can, or moved about as a flat picture does.

Looks are compared with the first ones by `planarity`. Measured by tests/benchmarks/witnesses.py.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np

from edge.people.liveness.planarity import is_nonplanar, make_thumbnail
from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32

MIN_NONPLANAR = 2  # a crop that is turned too far to be registered differs, but is only one
MIN_PLANAR = 4
MAX_THUMBNAILS = 3
MOVED = 0.35  # eye distances by which a face has been moved about, or turned or grown as much
LIFE = Testimony(picture=3.0)
HELD = Testimony(picture=-2.0)


class MotionWitness:
    """Compares each look with the first ones."""

    name: ClassVar[str] = "motion"

    def __init__(self) -> None:
        self._first: deque[tuple[F32, F32]] = deque(maxlen=MAX_THUMBNAILS)  # thumbnail, landmarks
        self._nonplanar = self._planar = 0

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        if self._nonplanar >= MIN_NONPLANAR:
            return True
        thumbnail = make_thumbnail(look.crop)
        if self._first:
            if all(is_nonplanar(old, thumbnail) for old, _ in self._first):
                self._nonplanar += 1
            elif _is_far(self._first[0][1], look.landmarks):
                self._planar += 1
        if len(self._first) < MAX_THUMBNAILS:
            self._first.append((thumbnail, look.landmarks))
        return True

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        if self._nonplanar >= MIN_NONPLANAR:
            return LIFE
        return HELD if self._planar >= MIN_PLANAR and not self._nonplanar else SILENCE


def _is_far(one: F32, other: F32) -> bool:
    """Whether five points moved, turned or grew by more than those of a face that is kept still."""
    eyes_px = float(np.linalg.norm(one[1] - one[0]))
    moved_px = float(np.linalg.norm(other - one, axis=1).max())
    return moved_px > MOVED * eyes_px
