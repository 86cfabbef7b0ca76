"""Stillness: is a face pixel for pixel where it was, as a picture on a wall is?

Nobody stands that still. The middle of the face is cut from the same place of each look and
compared with that of the first one: sensor noise makes hardly any difference in so small a view, a
shift of the head by a pixel or two does, and light that changes counts for nothing.

Measured with looks 0.1 s apart: of 18 simulated pictures that nobody moved, clean, printed or on a
screen, the change within eight looks was 0.01 to 0.04 standard deviations of the face's luma; of 11
drawn heads that hardly move it was 0.14 to 0.31, and of faces on film more than 1.
"""

from __future__ import annotations

import numpy as np

from edge.people.liveness.region import measure_luma
from edge.people.liveness.witness import LivenessLook
from edge.types import F32
from edge.vision.resize import crop

STILL = 0.07  # standard deviations of the face's luma
REACH = 0.35  # of what is compared, in heights of the face to each side of its center
SIDE = 32  # to which it is resized, pixels


class Stillness:
    """Compares each look with the first one, at the same place of the picture.

    Attributes:
        is_still: Whether there were two looks or more and no difference yet.
    """

    def __init__(self) -> None:
        self._place: tuple[int, int, int, int] | None = None
        self._first: F32 | None = None
        self._has_moved = self.is_still = False

    def look(self, look: LivenessLook) -> None:
        """Compare a look with the first one, until there is a difference."""
        if self._has_moved:
            return
        if self._place is None:
            center, height = (look.xyxy[:2] + look.xyxy[2:]) / 2, look.xyxy[3] - look.xyxy[1]
            low, high = np.floor(center - REACH * height), np.ceil(center + REACH * height)
            self._place = int(low[0]), int(low[1]), int(high[0]), int(high[1])
        part, _ = crop(look.picture, *self._place)
        luma = measure_luma(part, (SIDE, SIDE))
        if self._first is None:
            self._first = luma
            return
        self.is_still = _compute_change(self._first, luma) < STILL
        self._has_moved = not self.is_still


def _compute_change(one: F32, other: F32) -> float:
    """What light does not explain of the difference, in standard deviations of the first one."""
    a, b = one - one.mean(), other - other.mean()
    gain = float((a * b).sum()) / max(float((a * a).sum()), 1.0)
    return float((b - gain * a).std()) / max(float(a.std()), 1.0)
