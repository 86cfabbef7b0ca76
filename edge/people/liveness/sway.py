"""Sway: where a face moves by little, does what is around it move, too, as in a picture in a hand?

No hand holds a photograph still, and no head takes the wall behind it along. The region around the
face is cut from the same place of each look, and the shift against an earlier look is measured of
the face and of what is left of the head, right of it and above it, less that of the corners of the
picture and of the middles of its edges, which move where the camera does. One side alone may be a
hat or hair before a blank wall.

Measured over 3 to 12 looks, 0.1 s apart: of 15 drawn heads that were named, each side had 0.13 of
the face's shifts at most; of photographs that tremble in a hand two sides or three had 0.15 to 1.2
of them, less than all where the border of the photograph is in view.
"""

from __future__ import annotations

import math

import numpy as np

from edge.people.liveness.region import REACH, SHOULDERS, SIDE, cut_region, measure_luma
from edge.people.liveness.witness import LivenessLook
from edge.types import F32, F64, Bool, Picture
from edge.vision.patch import Patch
from edge.vision.resize import crop

MIN_LOOKS = 2
MIN_SWAY = 0.25  # root mean square of the face's shifts, pixels of the region
ALONG = 0.05  # of the face's shifts that a side's have at least, where it goes along
FEW = 0.4  # more, over the number of looks
ALIKE = 0.6  # correlation with the mean of the sides, since trees and crowds move by themselves
MAX_AGE_S = 4.0  # of the look that others are compared with
MAX_LOST = 3  # looks in a row that cannot be compared with it, before another is taken
CORNER = 64  # side of each, pixels of the picture
CLEARANCE = 1.6  # of a corner from the center of the face, in heights of the face
FACE = 0.36, 0.45  # half axes of what is compared of the face, in heights of it
HEAD = 0.9, 0.9  # the same of what may be head, hair or hat
MIN_SIDES = 2  # that go along


class Sway:
    """Compares looks with an earlier one, and adds up how far the face and each side shifted.

    What was seen before another look is taken to compare with counts half, so that one shake is
    forgotten.
    """

    def __init__(self) -> None:
        self._first: _View | None = None
        self._lost = 0
        self._looks = self._certain = 0.0
        self._seen = np.zeros(len(_SIDES))  # looks in which each side was found
        self._sums = np.zeros((2, len(_SIDES)))  # over them: face by face, face by side
        self._all = np.zeros(3)  # with the mean of the sides: as above, and of its square

    @property
    def goes_along(self) -> bool:
        """Whether what is around the face moved where the face did."""
        face, both = self._sums
        swayed = (self._seen >= MIN_LOOKS) & (face >= self._seen * MIN_SWAY**2)
        along = swayed & (both >= (ALONG + FEW / np.maximum(self._seen, 1)) * face)
        alike = self._all[1] >= ALIKE * math.sqrt(self._all[0] * self._all[2])
        return bool(along.sum() >= MIN_SIDES and alike)

    @property
    def is_certain(self) -> bool:
        """Whether it is known in most looks that it was not the camera that moved."""
        return self._certain * 2 > self._looks

    def look(self, look: LivenessLook) -> None:
        """Compare a look with the earlier one."""
        if self._first is None or self._lost >= MAX_LOST or not self._first.is_of(look):
            self._first, self._lost = _View(look), 0
            self._looks, self._certain = self._looks / 2, self._certain / 2
            for sums in (self._seen, self._sums, self._all):
                sums /= 2
            return
        face, sides, is_certain = self._first.find_shifts(look.picture)
        seen = np.isfinite(face).all() & np.isfinite(sides).all(1)
        if not seen.any():
            self._lost += 1
            return
        self._lost = 0
        self._looks += 1
        self._certain += is_certain
        self._seen += seen
        self._sums[0, seen] += float(face @ face)
        self._sums[1, seen] += sides[seen] @ face
        mean = sides[seen].mean(axis=0)  # in which what turns or grows nearly cancels out
        self._all += face @ face, face @ mean, mean @ mean


class _View:
    """The face, its sides and the corners of a look."""

    def __init__(self, look: LivenessLook) -> None:
        self._at_s, self._size_wh = look.at_s, look.picture.size_wh
        self._center = (look.xyxy[:2] + look.xyxy[2:]).astype(np.float64) / 2
        self._height = max(float(look.xyxy[3] - look.xyxy[1]), 1.0)
        region = cut_region(look.picture, self._center, self._height)
        self._face = Patch(region, _FACE)
        self._sides = [Patch(region, side) for side in _SIDES]
        width, height = self._size_wh
        self._corners = [
            ((x, y), Patch(_cut_corner(look.picture, x, y), _CORNER))
            for x in (0, (width - CORNER) // 2, width - CORNER)
            for y in (0, (height - CORNER) // 2, height - CORNER)
            if x >= 0 <= y and self._is_far(x + CORNER / 2, y + CORNER / 2)
        ]

    def _is_far(self, x: float, y: float) -> bool:
        """Whether a corner with that center neither moves with the face nor shows it."""
        apart = np.abs(np.array([x, y]) - self._center).max() - CORNER / 2
        return bool(apart > CLEARANCE * self._height)

    def is_of(self, look: LivenessLook) -> bool:
        """Whether a look can be compared with this one."""
        is_near = 0 <= look.at_s - self._at_s <= MAX_AGE_S
        return is_near and look.picture.size_wh == self._size_wh

    def find_shifts(self, picture: Picture) -> tuple[F64, F64, bool]:
        """How far the face and the sides moved, less the camera.

        Returns:
            The face ``(2,)`` and the sides ``(3, 2)``, pixels of the region, NaN where unknown, and
            whether it is known how far the camera moved.
        """
        region = cut_region(picture, self._center, self._height)
        face = self._face.find_shift(region)
        sides = np.stack([side.find_shift(region) for side in self._sides])
        if not (np.hypot(*sides.T) >= ALONG * np.hypot(*face)).any():
            return face, sides, True
        camera = SIDE / (2 * REACH * self._height) * self._find_camera(picture)
        if np.isnan(camera).any():
            return face, sides, False
        return face - camera, sides - camera, True

    def _find_camera(self, picture: Picture) -> F64:
        """How far the corners moved, ``(2,)`` pixels: the median of those found, or NaN."""
        shifts = (patch.find_shift(_cut_corner(picture, x, y)) for (x, y), patch in self._corners)
        known = [shift for shift in shifts if np.isfinite(shift).all()]
        return np.asarray(np.median(known, axis=0)) if known else np.full(2, np.nan)


def _cut_corner(picture: Picture, x: int, y: int) -> F32:
    """Luma of a square of the picture, ``(CORNER, CORNER)``."""
    part, (left, top) = crop(picture, x, y, x + CORNER, y + CORNER)
    return measure_luma(part)[y - top :, x - left :][:CORNER, :CORNER]


def _draw_ellipse(half_axes: tuple[float, float]) -> Bool:
    """``(SIDE, SIDE)``: what of the region lies within half axes in heights of the face."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    px = SIDE / (2 * REACH)
    inside: Bool = (columns / (half_axes[0] * px)) ** 2 + (rows / (half_axes[1] * px)) ** 2 <= 1
    return inside


def _draw_sides() -> list[Bool]:
    """``(SIDE, SIDE)`` each: left of the head, above it and right of it, over the shoulders."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    around = ~_draw_ellipse(HEAD) & (rows < SHOULDERS * SIDE / (2 * REACH))
    above = rows < -np.abs(columns)
    return [around & ~above & (columns < 0), around & above, around & ~above & (columns > 0)]


_FACE = _draw_ellipse(FACE)
_SIDES = _draw_sides()
_CORNER = np.ones((CORNER, CORNER), bool)
