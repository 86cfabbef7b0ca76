"""Parity: whether an engine finds what the model's reference finds, before it is trusted.

Arithmetic in another order or width moves scores and corners a little and flips close decisions.
What is refused here is more: an engine that loses objects, sees others, or describes faces
differently, as an unlucky INT8 engine does silently.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.manifest import Manifest
from edge.types import F32
from edge.vision import boxes

SCORE_MARGIN = 0.1  # above the model's threshold, so that rounding does not decide on a row
SCORE = 0.15  # a row's score may differ by this
IOU = 0.5  # that a row's boxes keep at least; NMS may have kept a neighbor instead
POINT = 0.1  # a point may move by this share of its face
MAX_LOST = 0.1  # share of rows that may be without counterpart
COSINE = 0.98  # of two descriptions of one face
LIVE = 0.05  # two probabilities may differ by this


class ParityCheck:
    """Compares the outputs of an engine with those of its reference, batch by batch.

    Attributes:
        rows: Detections, embeddings or probabilities compared so far, on either side.
        problem: How the engine differs; empty while it does not.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._lost = 0
        self.rows = 0
        self.problem = ""

    def add(self, expected: Mapping[str, F32], actual: Mapping[str, F32]) -> None:
        """Compare one batch: the outputs of the reference and of the engine."""
        problem = _compare_shapes(expected, actual)
        if not problem and "detections" in expected:
            problem = self._add_rows(expected, actual)
        elif not problem:
            self.rows += len(next(iter(expected.values())))
            problem = _compare_vectors(expected, actual)
        self.problem = self.problem or problem

    def _add_rows(self, expected: Mapping[str, F32], actual: Mapping[str, F32]) -> str:
        for picture in range(len(expected["detections"])):
            a = {name: value[picture] for name, value in expected.items()}
            b = {name: actual[name][picture] for name in expected}
            for one, two in ((a, b), (b, a)):
                min_score = self._manifest.score_threshold + SCORE_MARGIN
                missing, sure = _count_missing(one, two, min_score)
                self._lost, self.rows = self._lost + missing, self.rows + sure
        if self._lost > MAX_LOST * self.rows:
            return f"{self._lost} of {self.rows} findings have no counterpart"
        return ""


def _compare_shapes(expected: Mapping[str, F32], actual: Mapping[str, F32]) -> str:
    for name, value in expected.items():
        other = actual.get(name)
        if other is None or other.shape != value.shape:
            return f"{name} should be {value.shape}, is {None if other is None else other.shape}"
        if not np.isfinite(other).all():
            return f"{name} is not finite"
    return ""


def _compare_vectors(expected: Mapping[str, F32], actual: Mapping[str, F32]) -> str:
    """Compare embeddings and probabilities."""
    if "embeddings" in expected:
        cosine = (expected["embeddings"] * actual["embeddings"]).sum(axis=1).min(initial=1)
        return "" if cosine >= COSINE else f"descriptions of a face have a cosine of {cosine:.3f}"
    worst = max(float(np.abs(expected[name] - actual[name]).max(initial=0)) for name in expected)
    return "" if worst <= LIVE else f"answers differ by {worst:.3f}"


def _count_missing(
    one: Mapping[str, F32], two: Mapping[str, F32], min_score: float
) -> tuple[int, int]:
    """Rows of one picture with at least ``min_score``: those that ``two`` lacks, and all."""
    sure = one["detections"][:, 4] >= min_score
    rows, others = one["detections"][sure], two["detections"]
    same = boxes.iou(rows[:, :4], others[:, :4]) >= IOU  # (S, K)
    same &= rows[:, None, 5] == others[None, :, 5]
    same &= np.abs(rows[:, None, 4] - others[None, :, 4]) <= SCORE
    if "landmarks" in one:
        moved = one["landmarks"][sure][:, None] - two["landmarks"][None]  # (S, K, 5, 2)
        size = (rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
        same &= np.abs(moved).max(axis=(2, 3)) <= POINT * size[:, None]
    return int((~same.any(axis=1)).sum()), len(rows)
