"""Zoom: parts of a picture that the detector looks at from near, besides the whole.

A network sees a picture shrunk to its input. Windows of the picture, in which less is lost, go
through the same network in the same batch, and what is found in them is merged with what is found
in the whole. Windows lie around what moves or is followed (regions as proposals, in the manner of
R-CNN, Girshick 2014, arXiv:1311.2524), or they are tiles of the whole picture.

Boxes and windows are ``(N, 4)`` xyxy, pixels of the source image.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.compat import Self
from edge.config import Camera
from edge.ports import Detector
from edge.types import F32, I64, Bool, Detections, Frame
from edge.vision import boxes
from edge.vision.resize import crop

MAX_WINDOWS = 4  # per picture
MAX_PICTURES = 32  # per batch with windows: one of 416x256 takes 5 MB inside the network
MIN_GAIN = 1.4  # of the scale; a window that gains less is not worth its look
CONTEXT = 0.3  # of a region's width and height, on each side
OVERLAP = 0.15  # of a tile, with its neighbor
BORDER_PX, BORDER = 2.0, 0.01  # what comes as close to a window's border, in pixels or as a share
CHROMA = 4  # pixels that may share one of chroma: windows begin at a multiple
MERGE_IOU = 0.5
MERGE_INSIDE = 0.8  # share of a box that lies inside another of its class: the same object

NO_WINDOWS: F32 = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, slots=True)
class Zoom:
    """What a camera looks at from near.

    Attributes:
        regions: Whether windows lie around what moves or is followed.
        tiles: Columns and rows of tiles; (0, 0) for none.
    """

    regions: bool
    tiles: tuple[int, int]

    @classmethod
    def from_settings(cls, camera: Camera) -> Self:
        """As a camera is configured."""
        columns, _, rows = camera.tiles.partition("x")
        return cls(camera.zoom, (int(columns or 0), int(rows or 0)))

    @property
    def enabled(self) -> bool:
        """Whether there is anything to look at from near."""
        return self.regions or self.tiles != (0, 0)

    def plan(self, frame: Frame, tracks: F32, network_wh: tuple[int, int], turn: int = 0) -> F32:
        """The windows of a frame.

        Args:
            frame: The frame.
            tracks: Where somebody is expected, ``(T, 4)`` xyxy.
            network_wh: The input of the network.
            turn: The number of the look, see `plan_windows`.
        """
        if self.tiles != (0, 0):
            return plan_tiles(*self.tiles, frame.size_wh)
        moving = NO_WINDOWS if frame.regions is None else frame.regions
        regions = boxes.clip(np.concatenate([moving, tracks]), frame.size_wh)
        return plan_windows(regions, frame.size_wh, network_wh, turn)


def detect_near(
    detector: Detector, frames: Sequence[Frame], windows: Sequence[F32]
) -> list[Detections]:
    """What a detector finds in frames and in the windows of each, in batches of bounded size."""
    pictures = itertools.chain(frames, _cut_out(frames, windows))
    batch_size = max(MAX_PICTURES, len(frames))
    batches = iter(lambda: list(itertools.islice(pictures, batch_size)), [])
    found = itertools.chain.from_iterable(map(detector.detect, batches))
    whole = list(itertools.islice(found, len(frames)))
    return [
        merge(detections, list(itertools.islice(found, len(some))), some, frame.size_wh)
        for frame, detections, some in zip(frames, whole, windows, strict=True)
    ]


def _cut_out(frames: Sequence[Frame], windows: Sequence[F32]) -> Iterator[Frame]:
    """The windows as frames, each cut out when its turn comes."""
    for frame, some in zip(frames, windows, strict=True):
        for window in some.tolist():
            yield replace(frame, picture=crop(frame.picture, *map(int, window))[0])


def plan_windows(
    regions: F32, size_wh: tuple[int, int], network_wh: tuple[int, int], turn: int = 0
) -> F32:
    """Windows around regions, ``(W, 4)`` with whole numbers.

    A window has the network's aspect and at least as many pixels as its input, so that nothing is
    enlarged. A region in which the network would see hardly more than in the whole picture has
    none. Of more than `MAX_WINDOWS` each is there in some ``turn``.
    """
    windows: list[F32] = []
    for region in regions[np.argsort(-boxes.area(regions), kind="stable")]:
        window = _surround(region, size_wh, network_wh)
        near = _find_near(window, windows)
        if len(near):
            joined = _surround(_unite(region, windows[near[0]]), size_wh, network_wh, context=0)
            if _measure_gain(joined, size_wh) >= MIN_GAIN:
                windows[near[0]] = joined
                continue
        if _measure_gain(window, size_wh) >= MIN_GAIN:
            windows.append(window)
    if len(windows) > MAX_WINDOWS:
        first = turn * MAX_WINDOWS % len(windows)
        windows = [*windows[first:], *windows[:first]][:MAX_WINDOWS]
    return np.array(windows, np.float32).reshape(-1, 4)


def plan_tiles(columns: int, rows: int, size_wh: tuple[int, int]) -> F32:
    """Tiles that cover the picture and overlap their neighbors, ``(columns * rows, 4)``."""
    x = _split(size_wh[0], columns)
    y = _split(size_wh[1], rows)
    tiles = [(x1, y1, x2, y2) for y1, y2 in y for x1, x2 in x]
    return np.array(tiles, np.float32)


def _split(length: int, count: int) -> list[tuple[int, int]]:
    """``count`` intervals that cover a length and overlap."""
    size = length / (count - (count - 1) * OVERLAP)
    starts = [n * size * (1 - OVERLAP) for n in range(count)]
    return [(round(start) // CHROMA * CHROMA, min(round(start + size), length)) for start in starts]


def merge(
    whole: Detections, parts: Sequence[Detections], windows: F32, size_wh: tuple[int, int]
) -> Detections:
    """What was found in the whole picture and in its windows, each object once.

    Args:
        whole: In the whole picture.
        parts: In each window, pixels of the window.
        windows: ``(W, 4)``.
        size_wh: Of the whole picture.
    """
    found = [whole]
    for part, window in zip(parts, windows, strict=True):
        xyxy = part.xyxy + np.tile(window[:2], 2)
        uncut = ~_is_cut(xyxy, window, size_wh)
        if uncut.any():
            found.append(Detections(xyxy[uncut], part.score[uncut], part.class_id[uncut]))
    if len(found) == 1:
        return whole
    together = Detections(
        np.concatenate([one.xyxy for one in found]),
        np.concatenate([one.score for one in found]),
        np.concatenate([one.class_id for one in found]),
    )
    look = np.repeat(np.arange(len(found)), [len(one) for one in found])
    return together[_select(together, look)]


def _select(found: Detections, look: I64) -> Bool:
    """Which of the boxes are not another's double, best first.

    What one look found beside each other are several objects. So a box inside another look's is
    its double only if its own look found nothing else that is the other: a child before an adult
    is somebody, a torso alone is not.

    Args:
        found: Of all looks.
        look: ``(N,)``: the look, at the whole or at a window, in which each was found.
    """
    order = np.argsort(-found.score, kind="stable")
    xyxy, class_id, look = found.xyxy[order], found.class_id[order], look[order]
    comparable = (class_id[:, None] == class_id) & (look[:, None] != look)
    same = (boxes.iou(xyxy, xyxy) > MERGE_IOU) & comparable
    inside = boxes.containment(xyxy, xyxy) > MERGE_INSIDE  # of a row inside a column
    by_look = look == np.arange(look.max(initial=0) + 1)[:, None]  # (L, N)
    seen_by = (same.astype(np.float32) @ by_look.T.astype(np.float32)) > 0  # (N, L)
    double = same | (inside & comparable & ~seen_by[:, look].T)
    kept = np.ones(len(found), np.bool_)
    for row in range(1, len(found)):
        kept[row] = not (double[row, :row] & kept[:row]).any()
    chosen = np.zeros(len(found), np.bool_)
    chosen[order[kept]] = True
    return chosen


def _is_cut(xyxy: F32, window: F32, size_wh: tuple[int, int]) -> Bool:
    """``(N,)``: boxes at a border of the window that is none of the picture's: cut off by it."""
    inner = np.array([window[0] > 0, window[1] > 0, window[2] < size_wh[0], window[3] < size_wh[1]])
    border = np.maximum(np.tile(window[2:] - window[:2], 2) * BORDER, BORDER_PX)
    cut: Bool = ((np.abs(xyxy - window) <= border) & inner).any(axis=1)
    return cut


def _surround(
    region: F32, size_wh: tuple[int, int], network_wh: tuple[int, int], context: float = CONTEXT
) -> F32:
    """The window around a region, moved into the picture."""
    width, height = (region[2:] - region[:2]) * (1 + 2 * context)
    scale = max(width / network_wh[0], height / network_wh[1], 1.0)
    wh = np.minimum(np.ceil(np.array(network_wh) * scale), size_wh)
    corner = np.round((region[:2] + region[2:]) / 2 - wh / 2)
    corner = np.clip(corner, 0, np.array(size_wh) - wh)
    window: F32 = np.concatenate([corner - corner % CHROMA, corner + wh]).astype(np.float32)
    return window


def _measure_gain(window: F32, size_wh: tuple[int, int]) -> float:
    """How much larger things are to the network in the window than in the whole picture."""
    width, height = (float(value) for value in window[2:] - window[:2])
    return min(size_wh[0] / width, size_wh[1] / height)


def _find_near(window: F32, windows: Sequence[F32]) -> I64:
    """Which of the windows overlap with one."""
    if not windows:
        return np.zeros(0, np.int64)
    return np.flatnonzero(boxes.intersection(window[None], np.stack(windows))[0])


def _unite(one: F32, other: F32) -> F32:
    return np.concatenate([np.minimum(one[:2], other[:2]), np.maximum(one[2:], other[2:])])
