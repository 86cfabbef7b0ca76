"""Screens: the grid of a display and its moire are sharp lines in the spectrum of a face.

A face and its noise have a spectrum that falls evenly; a pattern that repeats stands out of it.
Multiples of an eighth of the sampling rate are left out, where codecs cut pictures into blocks.
Brightness is judged look by look. The pixels of a display are stripes of red, green and blue, so
its moire is colored, and skin hardly is: the spectra of red minus blue, from all over the face,
are averaged over the looks, so that a pattern too faint for one look adds up.

Measured, brightness: the highest peak of 170 television faces is 3.6 in the median and 5.9 at
most; of simulated phones, tablets and screens 6.4 to 6.8 in the median, 21 of each. Color: of 181
television faces 8.7 at most, of 100 turning synthetic heads 8.1, on a concert on television 6.2; of
219 simulated screens 0.52 are above 9, with color of half the resolution 0.46 of 100. The limits
were chosen on these. In frequencies near the highest, color of half the resolution, which most
cameras and codecs give, makes peaks of up to 12.5 in living faces: they are left out.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np

from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32
from edge.vision.resize import crop, to_rgb

SIDE = 64  # pixels of the picture, of each part of the face that is looked at
MAX_LOOKS = 8
MAX_COLOR_LOOKS = 12
MIN_LOOKS = 3
MAX_FACE = 3 * SIDE  # from the middle of the face; more costs time and tells little
PARTS, STEP = 3, 24  # most parts beside each other, and least distance between two, pixels
RING = 4  # width of what is compared, in frequencies
COLOR_RINGS = 4  # up to 3/8 of the sampling rate: above, color of half the resolution has images
PEAK = 6.0  # median absolute deviations of the logarithm of the power
COLOR_PEAK = 9.0  # the same, of red minus blue, averaged over the looks
SCREEN = Testimony(picture=-2.0, video=-2.0)
COLORED = Testimony(picture=-3.0, video=-3.0)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ScreenWitness:
    """Looks for patterns that repeat within the face."""

    name: ClassVar[str] = "screen"

    def __init__(self) -> None:
        self._peaks: deque[float] = deque(maxlen=MAX_LOOKS)
        self._colors: deque[F32] = deque(maxlen=MAX_COLOR_LOOKS)  # spectra
        self._color_peak = 0.0

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        face = _cut_face(look)
        if min(face.shape[:2]) < SIDE:
            return True  # what is left of a grid in so small a face is noise
        y, x = ((side - SIDE) // 2 for side in face.shape[:2])
        self._peaks.append(measure_peak(face[y : y + SIDE, x : x + SIDE] @ _LUMA))
        self._colors.append(measure_color(face))
        self._color_peak = find_peak(np.mean(self._colors, axis=0), COLOR_RINGS)
        return True

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        if len(self._peaks) < MIN_LOOKS:
            return SILENCE
        if self._color_peak > COLOR_PEAK:
            return COLORED
        return SCREEN if float(np.median(self._peaks)) > PEAK else SILENCE


def _cut_face(look: LivenessLook) -> F32:
    """``(h, w, 3)`` what the picture shows of the face, at most `MAX_FACE` wide and high."""
    center = (look.xyxy[:2] + look.xyxy[2:]) / 2
    reach = np.minimum(look.xyxy[2:] - look.xyxy[:2], MAX_FACE) / 2
    (x1, y1), (x2, y2) = np.floor(center - reach).astype(int), np.ceil(center + reach).astype(int)
    part, _ = crop(look.picture, int(x1), int(y1), int(x2), int(y2))
    return to_rgb(part).astype(np.float32)


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
    """``(SIDE, SIDE)`` luma -> the highest peak of its spectrum, see `find_peak`."""
    return find_peak(_transform(luma))


def measure_color(face: F32) -> F32:
    """``(h, w, 3)`` RGB -> ``(SIDE, SIDE)`` the mean spectrum of its parts, red minus blue."""
    color = face[..., 0] - face[..., 2]
    rows, columns = (_place_parts(side) for side in color.shape)
    parts = [color[y : y + SIDE, x : x + SIDE] for y in rows for x in columns]
    mean: F32 = np.mean([_transform(part) for part in parts], axis=0)
    return mean


def _place_parts(side: int) -> list[int]:
    """Where parts begin that cover a side evenly."""
    spare = side - SIDE
    return [int(at) for at in np.linspace(0, spare, min(PARTS, 1 + spare // STEP))]


def _transform(part: F32) -> F32:
    """``(SIDE, SIDE)`` -> the logarithm of the power of its frequencies."""
    power: F32 = np.log(np.abs(np.fft.fft2((part - part.mean()) * _WINDOW)) ** 2 + 1)
    return power


def find_peak(spectrum: F32, rings: int | None = None) -> float:
    """``(SIDE, SIDE)`` spectrum -> its highest peak above what is usual around it.

    In median absolute deviations of the logarithm of the power, among frequencies about equally
    far from the middle; of the lowest ``rings``, or all.
    """
    peaks = []
    for ring in _RINGS[:rings]:
        values = spectrum[ring]
        usual = np.median(values)
        spread = max(float(np.median(np.abs(values - usual))), 0.3)
        peaks.append((float(values.max()) - usual) / spread)
    highest: float = max(peaks)
    return highest
