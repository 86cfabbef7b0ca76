"""Occlusion: which parts of a picture an answer of a model rests on, whatever the model is.

A gray patch is moved over the picture; where the score falls, the model had looked (Zeiler & Fergus
2014, "Visualizing and Understanding Convolutional Networks"). It needs the model's answers alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.models.classifier import ContractClassifier
from edge.ports import Detector, FaceFinder
from edge.types import F32, U8, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.resize import resize

GRAY = 114
CELLS = 12  # along the longer side of what is looked at
PATCH_CELLS = 3  # side of the patch
AROUND = 0.6  # of the sides of a box, around which is looked at too
BUDGET_S = 20.0
_SAME = 0.3  # IoU from which a detection is still the one that is explained
_LONGEST_PX = 960  # more than models see of a picture
_BATCH = 4

Ask = Callable[[Sequence[RgbPicture]], list[float]]


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """What an answer rests on.

    Attributes:
        label: What was said.
        score: How surely.
        xyxy: ``(4,)``, where, pixels of the picture.
        area: ``(4,)``, the part of the picture that was looked at.
        heat: ``(h, w)`` over ``area``: mean loss of score where a patch covers a cell; negative
            where the score rose.
        asked: Patches that were tried.
        planned: Patches that there are; more than ``asked`` if the time was over.
    """

    label: str
    score: float
    xyxy: F32
    area: F32
    heat: F32
    asked: int
    planned: int

    def spread(self, size_wh: tuple[int, int]) -> F32:
        """The map of the whole picture at a size, zero where nobody looked."""
        width, height = size_wh
        whole = np.zeros((height, width), np.float32)
        x1, y1, x2, y2 = np.round(self.area).astype(int).tolist()
        row = np.minimum((np.arange(y2 - y1) * len(self.heat)) // (y2 - y1), len(self.heat) - 1)
        count = self.heat.shape[1]
        column = np.minimum((np.arange(x2 - x1) * count) // (x2 - x1), count - 1)
        whole[y1:y2, x1:x2] = self.heat[row[:, None], column[None]]
        return whole

    def share_inside(self) -> float:
        """Share of the loss that lies within the box; NaN without any."""
        ys, xs = (
            low + (np.arange(count) + 0.5) * (high - low) / count
            for low, high, count in zip(
                self.area[[1, 0]], self.area[[3, 2]], self.heat.shape, strict=True
            )
        )
        x1, y1, x2, y2 = self.xyxy
        inside = ((ys >= y1) & (ys < y2))[:, None] & ((xs >= x1) & (xs < x2))[None]
        loss = np.maximum(self.heat, 0)
        return float(loss[inside].sum() / loss.sum()) if loss.sum() > 0 else float("nan")


def shrink(picture: RgbPicture) -> RgbPicture:
    """The picture, at most as large as is worth looking at."""
    scale = _LONGEST_PX / max(picture.size_wh)
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size_wh)
    return RgbPicture(resize(np.ascontiguousarray(picture.rgb), (width, height)))


def explain(
    ask: Ask, picture: RgbPicture, label: str, xyxy: F32, *, whole: bool = False,
    budget_s: float = BUDGET_S, cells: int = CELLS,
    clock: Callable[[], float] = time.monotonic,
) -> Occlusion:  # fmt: skip
    """Cover the picture patch by patch, and see what becomes of the score.

    Patches overlap; they are tried in an order that covers everything coarsely first, so that what
    the time allows is a map of all of it.

    Args:
        ask: The score of what is explained in each of some pictures.
        picture: What was looked at.
        label: What was said of it.
        xyxy: Where, ``(4,)``.
        whole: Look at all of the picture, not only around the box.
        budget_s: Longest time.
        cells: Cells along the longer side of what is looked at.
        clock: Monotonic, for tests.
    """
    began_s = clock()
    [score] = ask([picture])
    limit = np.array([*picture.size_wh] * 2, np.float32)
    margin = AROUND * np.tile(xyxy[2:] - xyxy[:2], 2) * np.array([-1, -1, 1, 1], np.float32)
    seen = np.concatenate([0 * limit[:2], limit[2:]]) if whole else np.clip(xyxy + margin, 0, limit)
    area: F32 = np.asarray(np.round(seen), np.float32)
    size = np.maximum(area[2:] - area[:2], 1)
    columns, rows = np.maximum(np.round(cells * size / size.max()), 1).astype(int).tolist()
    loss, count = np.zeros((rows, columns)), np.zeros((rows, columns))
    patches = list(_list_patches(rows, columns))
    asked = 0
    while asked < len(patches) and (not asked or clock() - began_s < budget_s):
        some = patches[asked : asked + _BATCH]
        covered = [_cover(picture, area, (rows, columns), patch) for patch in some]
        for (y, x), found in zip(some, ask(covered), strict=True):
            part = np.s_[max(y, 0) : y + PATCH_CELLS, max(x, 0) : x + PATCH_CELLS]
            loss[part] += score - found
            count[part] += 1
        asked += len(some)
    heat = np.where(count > 0, loss / np.maximum(count, 1), 0)
    lost = np.asarray(heat, np.float32)
    return Occlusion(label, score, xyxy, area, lost, asked, len(patches))


def _list_patches(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """First row and column of each patch: those side by side first, those between them later."""
    places = [
        (y, x)
        for y in range(1 - PATCH_CELLS, rows)
        for x in range(1 - PATCH_CELLS, columns)
        if y + PATCH_CELLS > 0 and x + PATCH_CELLS > 0
    ]
    yield from sorted(places, key=lambda at: (at[0] % PATCH_CELLS, at[1] % PATCH_CELLS))


def _cover(
    picture: RgbPicture, area: F32, shape: tuple[int, int], patch: tuple[int, int]
) -> RgbPicture:
    """The picture with a gray patch."""
    step = (area[2:] - area[:2]) / shape[::-1]
    low = np.maximum(np.array(patch[::-1]), 0) * step + area[:2]
    high = np.minimum(np.array(patch[::-1]) + PATCH_CELLS, shape[::-1]) * step + area[:2]
    (x1, y1), (x2, y2) = np.round(low).astype(int), np.round(high).astype(int)
    rgb: U8 = picture.rgb.copy()
    rgb[y1:y2, x1:x2] = GRAY
    return RgbPicture(rgb, picture.pixel_aspect)


def _frame(picture: RgbPicture) -> Frame:
    return Frame("", 0, 0, 0.0, 0.0, picture)


def ask_detector(detector: Detector, xyxy: F32, class_id: int) -> Ask:
    """The score of the detection of a class that lies where ``xyxy`` does; 0 without one."""

    def ask(pictures: Sequence[RgbPicture]) -> list[float]:
        found = detector.detect([_frame(picture) for picture in pictures])
        return [
            _best(boxes.iou(xyxy[None], one.xyxy)[0], one.score * (one.class_id == class_id))
            for one in found
        ]

    return ask


def ask_faces(finder: FaceFinder, xyxy: F32) -> Ask:
    """The score of the face that lies where ``xyxy`` does; 0 without one."""

    def ask(pictures: Sequence[RgbPicture]) -> list[float]:
        found = finder.find([_frame(picture) for picture in pictures])
        return [_best(boxes.iou(xyxy[None], one.xyxy)[0], one.score) for one in found]

    return ask


def ask_classifier(classifier: ContractClassifier, xyxy: F32, class_id: int) -> Ask:
    """The probability of a class for a part of the picture; 0 where it cannot be true."""

    def ask(pictures: Sequence[RgbPicture]) -> list[float]:
        crops = np.stack([classifier.cut(picture, xyxy) for picture in pictures])
        return [float(p) for p in np.nan_to_num(classifier.classify(crops)[:, class_id])]

    return ask


def _best(overlap: F32, score: F32) -> float:
    return float(np.where(overlap >= _SAME, score, 0).max(initial=0))
