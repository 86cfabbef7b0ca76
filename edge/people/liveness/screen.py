"""Screens: the grid of a display and its moire are sharp lines in the spectrum of a face.

A face and its noise have a spectrum that falls evenly; a pattern that repeats stands out of it.
Multiples of an eighth of the sampling rate are left out, where codecs cut pictures into blocks.

Measured: the highest peak of 170 television faces is 3.6 in the median and 5.9 at most; of
simulated phones, tablets and screens 6.4 to 6.8 in the median, 21 of each. The limit was chosen on
these.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np

from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32
from edge.vision.resize import crop, to_rgb

SIDE = 64  # pixels of the picture, from the middle of the face
MAX_LOOKS = 8
MIN_LOOKS = 3
RING = 4  # width of what is compared, in frequencies
PEAK = 6.0  # median absolute deviations of the logarithm of the power
SCREEN = Testimony(picture=-2.0, video=-2.0)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ScreenWitness:
    """Looks for patterns that repeat within the face."""

    name: ClassVar[str] = "screen"

    def __init__(self) -> None:
        self._peaks: deque[float] = deque(maxlen=MAX_LOOKS)

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        x, y = (look.xyxy[:2] + look.xyxy[2:]) / 2 - SIDE / 2
        if (look.xyxy[2:] - look.xyxy[:2]).min() < SIDE:
            return True  # what is left of a grid in so small a face is noise
        part, _ = crop(look.picture, int(x), int(y), int(x) + SIDE, int(y) + SIDE)
        luma = to_rgb(part)[:SIDE, :SIDE].astype(np.float32) @ _LUMA
        if luma.shape == (SIDE, SIDE):
            self._peaks.append(measure_peak(luma))
        return True

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        enough = len(self._peaks) >= MIN_LOOKS
        return SCREEN if enough and float(np.median(self._peaks)) > PEAK else SILENCE


def _make_rings() -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the frequencies that are looked at, for each distance from the middle."""
    rows, columns = np.meshgrid(*(np.fft.fftfreq(SIDE) * SIDE,) * 2, indexing="ij")
    block = SIDE // 8
    clear = (np.abs(rows) % block > 1) & (np.abs(columns) % block > 1)
    distance = np.hypot(rows, columns)
    widths = range(block, SIDE // 2, RING)
    rings = [clear & (low <= distance) & (distance < low + RING) for low in widths]
    return [ring.nonzero() for ring in rings]


_RINGS = _make_rings()
_WINDOW = np.outer(np.hanning(SIDE), np.hanning(SIDE))


def measure_peak(luma: F32) -> float:
    """``(SIDE, SIDE)`` luma -> the highest peak of its spectrum above what is usual around it.

    In median absolute deviations of the logarithm of the power, among frequencies about equally
    far from the middle.
    """
    power = np.log(np.abs(np.fft.fft2((luma - luma.mean()) * _WINDOW)) ** 2 + 1)
    peaks = []
    for ring in _RINGS:
        values = power[ring]
        usual = np.median(values)
        spread = max(float(np.median(np.abs(values - usual))), 0.3)
        peaks.append((float(values.max()) - usual) / spread)
    highest: float = max(peaks)
    return highest
