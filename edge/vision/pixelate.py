"""Pixelation: what is in a box becomes unrecognizable.

A box is divided into blocks, and each becomes its mean color. Blocks have at least 16 pixels a side
and there are at most 8 across a box, so that a face keeps no more than 64 colors however large it
is. What was inside a block is gone for good: no other picture is kept of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from edge.types import F32, U8

MIN_BLOCK_PX = 16
MAX_BLOCKS = 8  # across a box
MARGIN = 0.15  # of a box's size on each side: a detector's box may cut off chin or hair
HEAD = 0.35  # of a person's height from the top, where the head may be


def pixelate(rgb: U8, xyxy: F32) -> U8:
    """Make what is in boxes unrecognizable.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        xyxy: ``(N, 4)`` boxes, pixels of the picture; they may reach beyond it.

    Returns:
        A copy, in which the boxes and a margin around each are blocks of one color.
    """
    hidden = np.ascontiguousarray(rgb).copy()
    height, width = hidden.shape[:2]
    for x1, y1, x2, y2 in np.asarray(xyxy, np.float64).reshape(-1, 4):
        grow_x, grow_y = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        left, top = max(int(np.floor(x1 - grow_x)), 0), max(int(np.floor(y1 - grow_y)), 0)
        right = min(int(np.ceil(x2 + grow_x)), width)
        bottom = min(int(np.ceil(y2 + grow_y)), height)
        if left < right and top < bottom:
            _average_blocks(hidden[top:bottom, left:right])
    return hidden


def choose_hidden(hide: Collection[str], xyxy: F32, labels: Sequence[str], faces_xyxy: F32) -> F32:
    """The boxes that must be pixelated.

    A face is hidden where it was found, and where a person's head may be: faces are not looked for
    in every frame, and are not found from every side.

    Args:
        hide: Any of ``face`` and ``person``.
        xyxy: ``(N, 4)`` boxes of objects.
        labels: Their N classes.
        faces_xyxy: ``(M, 4)`` boxes of faces.

    Returns:
        ``(K, 4)`` xyxy.
    """
    people = np.asarray(xyxy, np.float32).reshape(-1, 4)
    people = people[[label == "person" for label in labels]]
    faces = np.asarray(faces_xyxy, np.float32).reshape(-1, 4)
    if "person" in hide:
        return np.concatenate([people, faces])
    if "face" not in hide:
        return faces[:0]
    heads = people.copy()
    heads[:, 3] = heads[:, 1] + HEAD * (heads[:, 3] - heads[:, 1])
    return np.concatenate([faces, heads])


def _average_blocks(part: U8) -> None:
    """Replace each block of an ``(h, w, 3)`` part of a picture by its mean color, in place."""
    height, width = part.shape[:2]
    block = max(MIN_BLOCK_PX, -(-max(height, width) // MAX_BLOCKS))
    rows, columns = (_split(side, block) for side in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            cell = part[top:bottom, left:right]
            cell[:] = np.round(cell.reshape(-1, 3).mean(axis=0)).astype(np.uint8)


def _split(side: int, block: int) -> list[int]:
    """The borders of blocks, none of which is smaller than ``block`` unless the side is."""
    count = max(1, side // block)
    return [round(side * n / count) for n in range(count + 1)]
