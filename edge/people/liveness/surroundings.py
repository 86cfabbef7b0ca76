"""Surroundings: what is around a living face stays where it is when the face moves.

A picture that is held before the camera carries its own surroundings and its border along. So the
ring around the face is compared with the look before, once where it was and once moved along with
the face, and whichever fits better speaks. Where all of the picture moved along, either the camera
did or what is held fills its view, which is less against life. Where the surroundings have become
others, neither staying nor going along with the face, something was put before the camera, as when
a photograph is swapped for another, and what was seen before does not count. What a face that
moves by less than that is worth, `sway` measures over several looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.people.liveness.region import REACH, SHOULDERS, SIDE, cut_region
from edge.people.liveness.sway import Sway
from edge.people.liveness.witness import SILENCE, LivenessLook, Testimony
from edge.types import F32, Bool, YuvPicture
from edge.vision.scene_cut import compute_grid
from edge.vision.warp import warp

HEAD = 0.75, 0.8  # half axes of what may be head and hair, in heights of the face
MAX_GAP_S = 2.5
MOVED = 0.06  # heights of the face: less tells nothing
MAX_MOVED, MAX_GROWN = 0.6, 0.3
MIN_TEXTURE = 6.0  # standard deviation of luma: a blank wall tells nothing
CLEAR = 1.4  # times better
MIN_MOVES = 2
SAME = 0.05  # one minus the correlation: surroundings that did not move
CHANGED = 0.15  # surroundings that changed while the face moved
OTHERS = 0.75  # one minus the correlation: surroundings that are others
MIN_PIXELS, MIN_CELLS = 200, 40
FAR, FIXED = 2.2, 0.1  # heights from the face, and unlikeness of what did not move there
NOISE = 0.01  # added to one minus the correlation, so that two near ones are no clear difference
STAYED = Testimony(picture=1.0, video=0.5)
SWAYED = Testimony(picture=-3.5, video=-3.5)  # by little, again and again
CARRIED = Testimony(picture=-3.0, video=-3.0)
PANNED = Testimony(picture=-2.0, video=-2.0)  # with all there is: the camera, or what is held


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is kept of a look.

    Attributes:
        size_wh: Of the picture.
        center: ``(2,)`` of the face, pixels of the picture.
        height: Of the face.
        points: ``(5,)`` complex, its landmarks.
        region: Luma around the face, ``(SIDE, SIDE)`` float32; NaN outside the picture.
        grid: Of the whole picture, upright, see `scene_cut.compute_grid`.
    """

    at_s: float
    size_wh: tuple[int, int]
    center: np.ndarray
    height: float
    points: np.ndarray
    region: F32
    grid: F32

    @classmethod
    def take(cls, look: LivenessLook) -> View:
        """Keep what is needed of a look."""
        center = (look.xyxy[:2] + look.xyxy[2:]).astype(np.float64) / 2
        height = max(float(look.xyxy[3] - look.xyxy[1]), 1.0)
        points = look.landmarks[:, 0].astype(np.float64) + 1j * look.landmarks[:, 1]
        region = cut_region(look.picture, center, height)
        turns = look.picture.quarter_turns if isinstance(look.picture, YuvPicture) else 0
        grid = np.rot90(compute_grid(look.picture), turns)
        return cls(look.at_s, look.picture.size_wh, center, height, points, region, grid)

    @property
    def px(self) -> float:
        """Pixels of the region per pixel of the picture."""
        return SIDE / (2 * REACH * self.height)

    def carry(self, turn: complex, shift: complex, to: View) -> F32:
        """The region as another view shows it once points ``z`` have gone to ``turn z + shift``."""
        middle, start, end = complex(SIDE, SIDE) / 2, complex(*self.center), complex(*to.center)
        factor = turn * to.px / self.px
        return warp(
            self.region, factor, (turn * start + shift - end) * to.px + middle - factor * middle
        )


class SurroundingsWitness:
    """Compares the surroundings of a look with those of an earlier one, once the face moved."""

    name: ClassVar[str] = "surroundings"

    def __init__(self) -> None:
        self._before: View | None = None
        self._stayed = self._carried = self._panned = 0
        self._sway = Sway()

    def look(self, look: LivenessLook) -> bool:
        """See `Witness.look`."""
        if not (np.isfinite(look.landmarks).all() and np.ptp(look.landmarks, axis=0).max() >= 1):
            return True
        self._sway.look(look)
        before, now = self._before, View.take(look)
        if before is None or not _are_comparable(before, now):
            self._before = now
            return True
        turn, shift = _fit_similarity(before.points, now.points)
        moved_px = np.abs((turn - 1) * before.points + shift).max()
        has_moved = bool(moved_px >= MOVED * before.height)
        if has_moved:
            self._before = now
        still, moved = before.carry(1, 0, now), before.carry(turn, shift, now)
        ring = _draw_ring(before, now) & np.isfinite(still) & np.isfinite(moved)
        ring &= np.isfinite(now.region)
        seen = now.region[ring]
        if ring.sum() < MIN_PIXELS or min(still[ring].std(), seen.std()) < MIN_TEXTURE:
            return True
        stayed = _compute_unlikeness(still[ring], seen)
        if not has_moved:
            is_other = stayed >= OTHERS and _is_fixed(before, now)
            self._before = now if is_other else before
            return not is_other
        carried = _compute_unlikeness(moved[ring], seen)
        if min(stayed, carried) >= OTHERS and _is_fixed(before, now):
            return False
        if stayed < SAME and stayed * 2 * CLEAR < carried:
            self._stayed += 1
        elif carried * CLEAR < stayed and _is_fixed(before, now):
            self._carried += 1
        elif carried * CLEAR < stayed or stayed > CHANGED:  # or it was tilted
            self._panned += 1
        return True

    def testify(self) -> Testimony:
        """See `Witness.testify`."""
        against = self._carried + self._panned
        if self._stayed >= MIN_MOVES and self._stayed > 3 * against:
            return STAYED
        said = [SILENCE]
        if against >= MIN_MOVES and against > self._stayed:
            said.append(CARRIED if self._carried >= self._panned else PANNED)
        if self._sway.goes_along:
            said.append(SWAYED if self._sway.is_certain else PANNED)
        return min(said, key=lambda told: told.video)


def _are_comparable(before: View, now: View) -> bool:
    """Whether a face is still about where it was, and not long after."""
    return (
        0 < now.at_s - before.at_s <= MAX_GAP_S
        and (before.size_wh, before.grid.shape) == (now.size_wh, now.grid.shape)
        and float(np.hypot(*(now.center - before.center))) <= MAX_MOVED * before.height
        and abs(float(np.log(now.height / before.height))) <= MAX_GROWN
    )


def _fit_similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """Factor and summand that take points, as complex numbers, nearest to others."""
    spread = source - source.mean()
    factor = complex(np.vdot(spread, target - target.mean()) / np.vdot(spread, spread))
    return factor, complex(target.mean() - factor * source.mean())


def _is_fixed(before: View, now: View) -> bool:
    """Whether what is far from the face is as it was: the camera did not move."""
    rows, columns = now.grid.shape
    x = (np.arange(columns) + 0.5) * now.size_wh[0] / columns
    y = (np.arange(rows) + 0.5) * now.size_wh[1] / rows
    far = (np.abs(x - now.center[0]) > FAR * now.height)[None] | (
        np.abs(y - now.center[1]) > FAR * now.height
    )[:, None]
    old, new = before.grid[far], now.grid[far]
    if far.sum() < MIN_CELLS or min(old.std(), new.std()) < MIN_TEXTURE:
        return True
    return _compute_unlikeness(old, new) < FIXED


def _draw_ring(before: View, now: View) -> Bool:
    """``(SIDE, SIDE)``: outside of the head, wherever it was, and above the shoulders."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    px = now.px * now.height
    ring = np.ones((SIDE, SIDE), bool)
    for view in (before, now):
        x, y = SIDE / 2 + (view.center - now.center) * now.px
        across, down = (columns - x) / (HEAD[0] * px), (rows - y) / (HEAD[1] * px)
        ring &= (across**2 + down**2 > 1) & (rows < y + SHOULDERS * px)
    return ring


def _compute_unlikeness(one: np.ndarray, other: np.ndarray) -> float:
    """One minus the correlation of two views of the same places, 0..2; 1 if one is blank."""
    if min(one.std(), other.std()) < 1e-3:
        return 1 + NOISE
    return 1 - float(np.corrcoef(one, other)[0, 1]) + NOISE
