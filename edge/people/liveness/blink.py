"""Blinks: both eyes close for a moment while the rest of the face stays as it is.

How far an eye is open is read from the aligned face: an iris is darker than the cheek below it, a
lid is not. A blink is a fall of both eyes at once to a fraction of what they were, and a return.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np

from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32

MAX_LOOKS = 12
MIN_LOOKS = 4  # that say how open the eyes usually are
MAX_GAP_S = 0.6  # between looks, so that a return is of the same blink
CLOSED, OPEN = 0.6, 0.8  # of the usual opening
STEADY = 0.25  # greatest change of the rest of the face, in its own contrast
BLINKED = Testimony(picture=1.5)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# rows and columns of an aligned face of 112x112: the eyes, and the cheeks and forehead
_EYES = (slice(44, 60), slice(26, 51)), (slice(44, 60), slice(61, 86))
_CHEEKS = (slice(64, 76), slice(26, 51)), (slice(64, 76), slice(61, 86))
_REST = slice(62, 104, 2), slice(24, 88, 2)


class BlinkWitness:
    """Follows how far both eyes are open."""

    name: ClassVar[str] = "blink"

    def __init__(self) -> None:
        self._looks: deque[tuple[float, F32, F32]] = deque(maxlen=MAX_LOOKS)  # at_s, open, rest
        self._closed_s = -np.inf
        self._blinks = 0

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        luma = look.crop.astype(np.float32) @ _LUMA
        opening, rest = measure_opening(luma), luma[_REST]
        if self._looks and look.at_s - self._looks[-1][0] > MAX_GAP_S:
            self._looks.clear()
        if len(self._looks) >= MIN_LOOKS:
            usual = np.median([o for _, o, _ in self._looks], axis=0)
            share = opening / np.maximum(usual, 1e-3)
            steady = _change(self._looks[-1][2], rest) < STEADY
            if (share < CLOSED).all() and steady:
                self._closed_s = look.at_s
                return True  # a closed eye is not how it usually is
            if (share > OPEN).all() and steady and look.at_s - self._closed_s <= MAX_GAP_S:
                self._blinks += 1
                self._closed_s = -np.inf
        self._looks.append((look.at_s, opening, rest))
        return True

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        return BLINKED if self._blinks else SILENCE


def measure_opening(luma: F32) -> F32:
    """``(112, 112)`` aligned luma -> ``(2,)``: how much darker each eye is than its cheek."""
    return np.array(
        [np.median(luma[cheek]) - np.percentile(luma[eye], 8)
         for eye, cheek in zip(_EYES, _CHEEKS, strict=True)],
        np.float32,
    )  # fmt: skip


def _change(one: F32, other: F32) -> float:
    """Mean difference of two views of the lower face, apart from light, in its contrast."""
    a, b = one - one.mean(), other - other.mean()
    return float(np.abs(a - b).mean() / max(float(a.std()), 1.0))
