"""Plausibility: whether a foreign network's own outputs have the meaning that a layout gives them.

Boxes that are decoded lie all over the input and have a size; coded ones do not, whatever the
weights and the picture. So any picture tells, even noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.errors import ModelError
from edge.types import F32, Bool

Outputs = Mapping[str, F32]  # by name, one row of the first axis per picture
MOST = 0.98  # share of values that must be as expected
SCORED = 0.01  # rows of a finished network below this score mean nothing


def refuse_not_finite(outputs: Outputs) -> None:
    """Check that a network gives numbers.

    Raises:
        ModelError: It does not.
    """
    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise ModelError(
                f"the network gives NaN or infinity in {name!r} on ordinary pictures: export it "
                "again, in float32 if this is half precision"
            )


def check_decoded(cxcywh: F32, scores: F32, input_wh: tuple[int, int]) -> None:
    """Check centers, sizes ``(A, 4)`` and scores ``(A, C)`` of a network with decoded boxes.

    Raises:
        ModelError: They are something else.
    """
    _check_scores(scores)
    size, center = cxcywh[:, 2:], cxcywh[:, :2]
    if _share(size > 0) < MOST:
        raise ModelError(
            "the boxes of this file have no size, so they are not decoded: is this a yolox "
            "network (--family yolox)? Otherwise export it with decoded boxes"
        )
    if np.quantile(np.abs(cxcywh), MOST) <= 2:
        raise ModelError(
            "the boxes of this file lie in 0 to 1, not in pixels: is this an RT-DETR "
            "(--family rtdetr)? Otherwise export it with boxes in pixels"
        )
    side = np.array(input_wh)
    if _share((center > -side) & (center < 2 * side)) < MOST:
        raise ModelError(
            f"the boxes of this file lie outside its pictures of {input_wh[0]}x{input_wh[1]}: "
            "choose another --family or --layout"
        )


def check_coded(values: F32, scores: F32) -> None:
    """Check the ``(A, 4)`` of a yolox network: shares of a cell, and logarithms of a size.

    Raises:
        ModelError: They are decoded already.
    """
    _check_scores(scores)
    if np.quantile(np.abs(values), MOST) > 20:
        raise ModelError(
            "the boxes of this file are decoded already: adopt it with --family yolo --layout "
            "objectness"
        )


def check_finished(rows: F32) -> None:
    """Check rows ``(R, 6)`` x1 y1 x2 y2 score class of a network with NMS of its own.

    Raises:
        ModelError: They are something else.
    """
    _check_scores(rows[:, 4:5])
    rows = rows[rows[:, 4] >= SCORED]
    if not len(rows):
        return
    if not (np.rint(rows[:, 5]) == rows[:, 5]).all():
        raise ModelError(
            "the last of six columns is no class id: is this an RT-DETR of two classes (--family "
            "rtdetr), or a network of one class with objectness (--layout objectness)?"
        )
    if np.abs(rows[:, :4]).max() <= 2:
        raise ModelError(
            "the boxes of this file lie in 0 to 1, not in pixels: is this an RT-DETR "
            "(--family rtdetr)? Otherwise export it with boxes in pixels"
        )
    if _share((rows[:, 2:4] > rows[:, :2]).all(axis=1)) < 0.5:
        raise ModelError(
            "the first four of six columns are no corners x1 y1 x2 y2: choose another --layout"
        )


def check_shares(boxes: F32, scores: F32) -> None:
    """Check boxes ``(A, 4)`` in 0..1 and scores ``(A, C)``.

    Raises:
        ModelError: They are something else.
    """
    _check_scores(scores)
    if np.quantile(np.abs(boxes), MOST) > 2:
        raise ModelError("the boxes of this file do not lie in 0 to 1: choose another --family")


def _check_scores(scores: F32) -> None:
    if _share((scores >= -1e-3) & (scores <= 1.001)) < MOST:
        raise ModelError(
            "what should be scores does not lie in 0 to 1: the file gives something else beside "
            "boxes (keypoints, angles, masks), or logits; choose another --family or --layout, or "
            "export a detect network with scores"
        )


def _share(good: Bool | np.bool_) -> float:
    return float(np.mean(good)) if np.size(good) else 1.0
