"""Motion detector: what changes before a fixed camera, on a small grid of the picture's luma.

Each cell is compared with its background, a running mean, under the light of the whole picture (a
gain and an offset). It has changed when the
difference is beyond ``min_change`` and a multiple of the cell's noise, a running mean absolute
deviation. Where a few neighbors have changed together, something moves.

What moves but is nothing that anybody follows (rain, leaves, a flag, a screen) becomes noise within
seconds; while somebody is followed, nothing that moves is learned. When most of the picture changes
at once (a lamp, the infrared filter, a camera that is turned), that counts as motion once, and the
picture is the new background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from edge.types import F32, Bool, Picture, YuvPicture
from edge.vision.polygons import Points, Polygons

LONG_SIDE = 128  # cells
NOISE_FACTOR = 4.0
MAX_NOISE = 25.0  # levels; a clock that the camera writes into its picture
LEAST_VARIANCE = 10.0  # levels^2 of the background, from which it tells a gain
SAMPLE = (slice(2, None, 4), slice(2, None, 4))  # of the cells, for the light
MIN_NEIGHBORS = 3  # cells of 3x3 that have changed, with the one in the middle
FLASH = 0.4  # share of the cells: light, not motion
BACKGROUND_S, SETTLED_S = 8.0, 0.4  # time constants of the mean of what is as before, and changed
NOISE_S, UNFOLLOWED_S = 30.0, 2.0  # and of the noise
SCATTERED, SMALL = 6, 16  # so many groups of fewer cells than that may be rain or snow
CROWDED = 0.25  # share of the cells near what moved before; beyond it, chance is as near
LEARN_EVERY_S = 0.55  # in every picture it would take as long as all the rest
MAX_GAP_S = 60.0  # after it, the background is another


class MotionDetector:
    """Notices motion in the pictures of one camera.

    Args:
        masks: Polygons in which motion does not count, as fractions of the upright picture.
        min_change: Least change of a cell's brightness, in levels.
    """

    def __init__(self, masks: Sequence[Points] = (), min_change: float = 5.0) -> None:
        self._masks = Polygons(masks)
        self._min_change = min_change
        self._at_s = -math.inf
        self._unlearned_s = 0.0
        self._light = (1.0, 0.0)  # gain and offset against the background's
        self._background: F32 = np.zeros((0, 0), np.float32)
        self._previous: F32 = np.zeros((0, 0), np.float32)
        self._moved: Bool = np.zeros((0, 0), np.bool_)  # in the previous picture
        self._noise: F32 = np.zeros((0, 0), np.float32)
        self._limit: F32 = np.zeros((0, 0), np.float32)  # change beyond it is motion
        self._visible: Bool = np.zeros((0, 0), np.bool_)

    def update(self, picture: Picture, at_s: float, *, followed: bool = False) -> Bool:
        """Take a picture.

        Args:
            picture: The camera's next one.
            at_s: Its time, on a clock that does not step back.
            followed: Whether somebody is followed in it, so that what moves is not noise.

        Returns:
            ``(rows, columns)``: the cells in which something moves, of the picture as decoded;
            all of them in the first picture and when the whole of it changed.
        """
        cells = shrink(picture)
        step_s, self._at_s = at_s - self._at_s, at_s
        if cells.shape != self._background.shape or not step_s <= MAX_GAP_S:
            return self._begin(cells, picture)
        self._unlearned_s += max(step_s, 0.0)
        learns = self._unlearned_s >= LEARN_EVERY_S
        if learns:
            self._light = self._fit_light(cells[SAMPLE], self._background[SAMPLE])
        gain, offset = self._light
        size: F32 = np.abs(cells - (gain * self._background + offset))
        changed: Bool = size > self._limit
        count = np.count_nonzero(changed)
        if count > FLASH * changed.size:
            return self._begin(cells, picture)
        if learns:
            self._learn(cells, size, changed, followed=followed)
        self._previous = cells
        changed &= self._visible
        if count < MIN_NEIGHBORS:
            self._moved = np.zeros_like(changed)
            return self._moved
        mask = changed.view(np.uint8)
        near = cv2.boxFilter(mask, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        moving: Bool = changed & (near >= MIN_NEIGHBORS)
        before, self._moved = self._moved, moving
        return _drop_scattered(moving, before)

    def _begin(self, cells: F32, picture: Picture) -> Bool:
        if cells.shape != self._background.shape:
            self._noise = np.ones(cells.shape, np.float32)
            self._limit = np.full(cells.shape, self._min_change, np.float32)
            self._visible = _find_visible(self._masks, cells.shape, picture)
        self._background, self._previous = cells.copy(), cells
        self._moved = np.zeros(cells.shape, np.bool_)
        self._light = (1.0, 0.0)
        return self._visible

    def _fit_light(self, cells: F32, background: F32) -> tuple[float, float]:
        """The gain and the offset of the light against the background's.

        By least squares over the cells that the last fit explains, with a pull to a gain of 1 where
        there is little contrast.
        """
        gain, offset = self._light
        kept = np.abs(cells - (gain * background + offset)) <= self._limit[SAMPLE]
        cells, background = cells[kept], background[kept]
        if 2 * cells.size > kept.size:
            mean, mean_was = float(cells.mean()), float(background.mean())
            contrast = background - mean_was
            pull = LEAST_VARIANCE * cells.size
            gain = float(contrast @ (cells - mean) + pull) / float(contrast @ contrast + pull)
            offset = mean - gain * mean_was
        return gain, offset

    def _learn(self, cells: F32, size: F32, changed: Bool, *, followed: bool) -> None:
        """Let background and noise follow the picture."""
        step_s, self._unlearned_s = self._unlearned_s, 0.0
        size = np.minimum(size, MAX_NOISE)
        rest = (~changed).view(np.uint8)
        cv2.accumulateWeighted(cells, self._background, _rate(step_s, BACKGROUND_S), rest)
        cv2.accumulateWeighted(size, self._noise, _rate(step_s, NOISE_S), rest)
        if not followed:
            busy = np.abs(cells - self._previous) > self._limit  # else it has settled
            settled = (changed & ~busy).view(np.uint8)
            cv2.accumulateWeighted(cells, self._background, _rate(step_s, SETTLED_S), settled)
            busy &= changed
            cv2.accumulateWeighted(
                size, self._noise, _rate(step_s, UNFOLLOWED_S), busy.view(np.uint8)
            )
        np.maximum(self._noise * NOISE_FACTOR, self._min_change, out=self._limit)


def shrink(picture: Picture) -> F32:
    """Mean luma (of RGB pictures green) of each cell, ``(rows, columns)``, as decoded.

    Cells are squares of the whole number of pixels with which the longer side has at most
    `LONG_SIDE` of them: by a fraction it takes several times as long. Of each, two rows of pixels
    count; what remains at the right and at the bottom, less than a cell, does not.
    """
    plane = picture.y if isinstance(picture, YuvPicture) else picture.rgb[..., 1]
    height, width = plane.shape
    cell = -(-max(height, width) // LONG_SIDE)
    cell_h, cell_w = min(cell, height), min(cell, width)
    rows, columns = height // cell_h, width // cell_w
    upper, lower = (
        np.ascontiguousarray(plane[first::cell_h][:rows, : columns * cell_w])
        for first in (cell_h // 4, 3 * cell_h // 4)
    )
    lines = cv2.addWeighted(upper, 0.5, lower, 0.5, 0)
    cells = cv2.resize(lines, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32)


def find_regions(moving: Bool, picture: Picture, grow: int = 2) -> F32:
    """Boxes around what moves, ``(N, 4)`` xyxy in pixels of the upright picture.

    Cells that are within ``2 * grow`` of each other lie in one box. Where everything moves, there
    is nothing to look at in particular: none.
    """
    if moving.mean() > FLASH:
        return np.zeros((0, 4), np.float32)
    turns = picture.quarter_turns if isinstance(picture, YuvPicture) else 0
    upright = np.ascontiguousarray(np.rot90(moving, turns))
    near = cv2.dilate(upright.view(np.uint8), np.ones((2 * grow + 1,) * 2, np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    x, y, w, h = stats[1:, :4].astype(np.float32).T
    rows, columns = upright.shape
    scale = np.array(picture.size_wh, np.float32) / (columns, rows)
    corners = np.stack([x, y, x + w, y + h], axis=1)
    regions: F32 = corners * np.tile(scale, 2).astype(np.float32)
    return regions


def _drop_scattered(moving: Bool, before: Bool) -> Bool:
    """Without small groups of cells where there are many of them: rain or snow.

    Where most of them are near what moved before, they are people far away.
    """
    count, groups, stats, _ = cv2.connectedComponentsWithStats(moving.view(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < SMALL
    small[0] = False  # what does not move
    scattered = np.count_nonzero(small)
    if scattered < SCATTERED:
        return moving
    near = cv2.dilate(before.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    stays = np.zeros(count, np.bool_)
    stays[groups[near]] = True
    if 2 * np.count_nonzero(stays & small) > scattered and near.mean() < CROWDED:
        return moving
    kept: Bool = moving & ~small[groups]
    return kept


def _rate(step_s: float, time_constant_s: float) -> float:
    """The weight of a new value in a running mean."""
    return -math.expm1(-step_s / time_constant_s)


def _find_visible(masks: Polygons, shape: tuple[int, int], picture: Picture) -> Bool:
    """The cells whose center is in no mask."""
    rows, columns = shape
    turns = picture.quarter_turns if isinstance(picture, YuvPicture) else 0
    if turns % 2:
        rows, columns = columns, rows
    y, x = np.mgrid[:rows, :columns]
    centers = np.stack([(x.ravel() + 0.5) / columns, (y.ravel() + 0.5) / rows], axis=1)
    masked = masks.contain(centers).any(axis=1).reshape(rows, columns)
    visible: Bool = np.ascontiguousarray(np.rot90(~masked, -turns))
    visible.flags.writeable = False
    return visible
