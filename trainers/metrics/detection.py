"""Detection metrics: COCO average precision in numpy, and what else a model card reports.

``evaluate`` matches once; every metric and its bootstrap interval is derived from the matches. The
numbers equal those of pycocotools (Lin et al., 2014; 101 recall points, 100 detections per picture
and class, areas of boxes). A metric without objects is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, I32, I64, Detections
from edge.vision import boxes
from trainers.metrics.interval import Interval

F64 = NDArray[np.float64]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS = np.linspace(0, 1, 101)
_MAX_DETECTIONS = 100  # detections of a class in a picture
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


class Labels(Protocol):
    """The labels of a picture: an ``Example`` or a ``Sample``."""

    @property
    def xyxy(self) -> F32:
        """``(N, 4)`` xyxy, source pixels."""

    @property
    def class_id(self) -> I32:
        """``(N,)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Detections of one class over all P pictures, by falling score, with their matches.

    Attributes:
        score: ``(D,)``.
        picture: ``(D,)`` index.
        hit: ``(T, D)`` whether it matches an object, per IoU threshold.
        ignored: ``(T, D)`` whether it is neither a true nor a false positive.
        truths: ``(P,)`` number of objects that count.
    """

    score: F64
    picture: I64
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: I64

    def curve(self, draws: I64 | None = None) -> tuple[F64, F64]:
        """``(T, D)`` precision and recall after each detection.

        ``draws`` ``(P,)`` is the number of times each picture counts; once unless given.
        """
        times = np.ones(len(self.truths), np.int64) if draws is None else draws
        each = times[self.picture]  # (D,)
        counted = ~self.ignored * each
        true = np.cumsum(counted * self.hit, axis=1).astype(np.float64)
        false = np.cumsum(counted * ~self.hit, axis=1).astype(np.float64)
        objects = float(times @ self.truths)
        recall = true / objects if objects else np.full_like(true, np.nan)
        return true / (true + false + np.spacing(1)), recall

    def average_precision(self, draws: I64 | None = None) -> F64:
        """``(T,)``; NaN where no object counts."""
        times = np.ones(len(self.truths), np.int64) if draws is None else draws
        if not times @ self.truths:
            return np.full(len(self.hit), np.nan)
        precision, recall = self.curve(draws)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
        at = np.stack([np.searchsorted(r, _RECALL_POINTS) for r in recall])  # (T, 101)
        return np.asarray(np.take_along_axis(padded, at, axis=1).mean(1), np.float64)

    def final_recall(self) -> F64:
        """``(T,)`` recall of all detections; NaN where no object counts."""
        if not self.truths.sum():
            return np.full(len(self.hit), np.nan)
        return self.curve()[1][:, -1] if len(self.score) else np.zeros(len(self.hit))


def _match(overlap: F64 | F32, counts: NDArray[np.bool_], threshold: float) -> list[int]:
    """Match greedily: each detection takes the best free object, preferably one that counts.

    ``overlap`` is ``(D, G)`` IoU of detections by falling score, ``counts`` ``(G,)``. Returns the
    object of each detection, or -1.
    """
    taken = np.zeros(len(counts), bool)
    result: list[int] = []
    for row in overlap:
        best = -1
        for group in (counts, ~counts):
            free = np.flatnonzero(group & ~taken & (row >= min(threshold, 1 - 1e-10)))
            if len(free):
                best = int(free[len(free) - 1 - np.argmax(row[free][::-1])])  # the last of equals
                break
        if best >= 0:
            taken[best] = True
        result.append(best)
    return result


def _outside(area: F32, limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (area < limits[0]) | (area > limits[1])


def _match_picture(
    truth: F32, detections: F32, limits: tuple[float, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """``(T, D)`` hit, ``(T, D)`` ignored and the number of objects that count."""
    outside = _outside(boxes.area(truth), limits)
    order = np.argsort(outside, kind="stable")
    counts = ~outside[order]
    overlap = boxes.iou(detections, truth[order])
    hit = np.zeros((len(IOU_THRESHOLDS), len(detections)), bool)
    ignored = np.zeros_like(hit)
    outside_range = _outside(boxes.area(detections), limits)
    for t, threshold in enumerate(IOU_THRESHOLDS):
        match = np.array(_match(overlap, counts, threshold), np.int64)
        hit[t] = match >= 0
        met_ignored = hit[t] & ~np.append(counts, True)[match]
        ignored[t] = met_ignored | (~hit[t] & outside_range)
    return hit, ignored, int(counts.sum())


def _match_class(
    truths: Sequence[Labels], detections: Sequence[Detections], c: int, limits: tuple[float, float]
) -> Matches:
    t = len(IOU_THRESHOLDS)
    score, picture = [np.zeros(0)], [np.zeros(0, np.int64)]
    hit, ignored = [np.zeros((t, 0), bool)], [np.zeros((t, 0), bool)]
    counts = np.zeros(len(truths), np.int64)
    for p, (labels, rows) in enumerate(zip(truths, detections, strict=True)):
        selected = rows[rows.class_id == c]
        selected = selected[np.argsort(-selected.score, kind="stable")[:_MAX_DETECTIONS]]
        objects = labels.xyxy[labels.class_id == c].astype(np.float64)
        if not len(selected) and not len(objects):
            continue
        h, i, counts[p] = _match_picture(objects, selected.xyxy.astype(np.float64), limits)
        score.append(selected.score.astype(np.float64))
        picture.append(np.full(len(selected), p))
        hit.append(h)
        ignored.append(i)
    order = np.argsort(-np.concatenate(score), kind="stable")
    return Matches(
        np.concatenate(score)[order], np.concatenate(picture)[order],
        np.concatenate(hit, 1)[:, order], np.concatenate(ignored, 1)[:, order], counts,
    )  # fmt: skip


def _mean(values: Sequence[float] | F64) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Matches of a detector by area range and class, and the metrics derived from them."""

    classes: tuple[str, ...]
    matches: dict[str, list[Matches]]

    def ap(self, area: str = "all", iou: float | None = None, class_id: int | None = None,
           draws: I64 | None = None) -> float:  # fmt: skip
        """Mean average precision of an area: all, small, medium or large.

        Without ``iou`` it is the mean over 0.5 to 0.95, without ``class_id`` that over classes with
        objects. ``draws`` ``(P,)`` is the number of times each picture counts.
        """
        matches = self.matches[area]
        chosen = matches if class_id is None else [matches[class_id]]
        table = np.stack([m.average_precision(draws) for m in chosen])  # (C, T)
        return _mean(table if iou is None else table[:, _threshold_row(iou)])

    def recall(self, area: str = "all") -> float:
        """COCO's AR: recall with 100 detections, mean over thresholds and classes."""
        return _mean(np.stack([m.final_recall() for m in self.matches[area]]))

    def interval(self, figure: Callable[[I64], float], draws: int = 200, seed: int = 0) -> Interval:
        """A metric and its 95 % bootstrap interval over ``draws`` samples of the pictures.

        ``figure`` computes the metric from ``(P,)`` counts of the pictures, for instance
        ``lambda d: e.ap(iou=0.5, draws=d)``.
        """
        n = len(self.matches["all"][0].truths) if self.matches["all"] else 0
        return _bootstrap(figure, n, draws, seed)

    def summary(self) -> dict[str, float]:
        """The metrics of a model card, and AP50 of each class as ``ap50/<class>``."""
        figures = {"ap": self.ap(), "ap50": self.ap(iou=0.5), "ap75": self.ap(iou=0.75)}
        figures |= {f"ap_{area}": self.ap(area) for area in ("small", "medium", "large")}
        figures["ar100"] = self.recall()
        for c, name in enumerate(self.classes):
            figures[f"ap50/{name}"] = self.ap(iou=0.5, class_id=c)
        return figures

    def precision_recall(self, class_id: int, iou: float = 0.5) -> tuple[F64, F64, F64]:
        """``(D,)`` precision, recall and score of a class, for drawing and for thresholds."""
        matches = self.matches["all"][class_id]
        precision, recall = matches.curve()
        row = _threshold_row(iou)
        return precision[row], recall[row], matches.score


def _threshold_row(iou: float) -> int:
    row = int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))
    if abs(IOU_THRESHOLDS[row] - iou) > 1e-6:
        raise ValueError(f"iou must be one of 0.5, 0.55 .. 0.95, got {iou}")
    return row


def _bootstrap(figure: Callable[[I64], float], n: int, draws: int, seed: int) -> Interval:
    rng = np.random.default_rng(seed)
    value = figure(np.ones(n, np.int64))
    drawn = [
        figure(np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(draws if n else 0)
    ]
    known = [d for d in drawn if not np.isnan(d)] or [float("nan")]
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(value, float(low), float(high), n)


def _ratio_interval(part: I64 | F64, whole: I64, draws: int, seed: int = 0) -> Interval:
    """Sum of ``part`` over sum of ``whole``, columns of a row per picture or group."""

    def figure(times: I64) -> float:
        total = times @ whole
        return float(times @ part / total) if total else float("nan")

    return _bootstrap(figure, len(whole), draws, seed)


def evaluate(
    truths: Sequence[Labels], detections: Sequence[Detections], classes: Sequence[str]
) -> Evaluation:
    """Match the detections in each picture, source pixels, with its labels.

    Raises:
        ValueError: The numbers of pictures differ.
    """
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} labeled pictures but detections of {len(detections)}")
    matches = {
        area: [_match_class(truths, detections, c, limits) for c in range(len(classes))]
        for area, limits in AREAS.items()
    }
    return Evaluation(tuple(classes), matches)


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """Counts at one score threshold and IoU, picture by picture.

    Attributes:
        true: ``(P,)`` true positives.
        false: ``(P,)`` false positives.
        missed: ``(P,)`` false negatives.
    """

    true: I64
    false: I64
    missed: I64

    def recall(self, draws: int = 1000) -> Interval:
        """Fraction of the objects that were detected."""
        return _ratio_interval(self.true, self.true + self.missed, draws)

    def precision(self, draws: int = 1000) -> Interval:
        """Fraction of the detections that are objects."""
        return _ratio_interval(self.true, self.true + self.false, draws)

    def false_per_picture(self, draws: int = 1000) -> Interval:
        """False positives per picture."""
        return _ratio_interval(self.false, np.ones_like(self.false), draws)


def evaluate_at(
    truths: Sequence[Labels], detections: Sequence[Detections], score: float, iou: float = 0.5
) -> OperatingPoint:
    """True and false positives at a score threshold; classes must agree."""
    counts = np.zeros((len(truths), 3), np.int64)
    for p, (labels, rows) in enumerate(zip(truths, detections, strict=True)):
        selected = rows[rows.score >= score]
        selected = selected[np.argsort(-selected.score, kind="stable")]
        same = selected.class_id[:, None] == labels.class_id[None]
        overlap = np.where(same, boxes.iou(selected.xyxy, labels.xyxy), -1.0)
        match = _match(overlap, np.ones(len(labels.xyxy), bool), iou)
        true = sum(m >= 0 for m in match)
        counts[p] = true, len(selected) - true, len(labels.xyxy) - true
    return OperatingPoint(counts[:, 0], counts[:, 1], counts[:, 2])


def confusion(
    truths: Sequence[Labels], detections: Sequence[Detections], n_classes: int,
    score: float = 0.25, iou: float = 0.5,
) -> I64:  # fmt: skip
    """Confusion matrix ``(C + 1, C + 1)``: rows are labels, columns detections.

    Pairs are matched by falling IoU whatever the classes. The last row counts detections without
    an object, the last column objects that were missed.
    """
    table = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    for labels, rows in zip(truths, detections, strict=True):
        selected = rows[rows.score >= score]
        overlap = boxes.iou(labels.xyxy, selected.xyxy)  # (G, D)
        met = np.full(len(labels.xyxy), n_classes)
        free = np.ones(len(selected), bool)
        order = np.argsort(-overlap, axis=None, kind="stable")
        for g, d in zip(*np.unravel_index(order, overlap.shape), strict=True):
            if overlap[g, d] < iou:
                break
            if free[d] and met[g] == n_classes:
                met[g], free[d] = selected.class_id[d], False
        np.add.at(table, (labels.class_id, met), 1)
        np.add.at(table, (np.full(int(free.sum()), n_classes), selected.class_id[free]), 1)
    return table


def landmark_errors(truth: F32, found: F32) -> F64:
    """``(M, 5, 2)`` twice -> ``(M,)`` mean distance of points over the true eye distance.

    Unknown points are left out; NaN where an eye is unknown.
    """
    eye_px = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=-1)
    distance = np.linalg.norm(truth - found, axis=-1)  # (M, 5)
    known = ~np.isnan(distance)
    total = np.where(known, distance, 0).sum(1)
    count = known.sum(1)
    usable = (count > 0) & (np.nan_to_num(eye_px) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(usable, total / count / eye_px, np.nan).astype(np.float64)


def mean_interval(values: Sequence[float] | F64, groups: Sequence[str], draws: int = 1000,
                  seed: int = 0) -> Interval:  # fmt: skip
    """Mean of values and its 95 % bootstrap interval, drawn by group (video, person)."""
    value = np.asarray(values, np.float64)
    known = ~np.isnan(value)
    _, row = np.unique(np.asarray(groups, str)[known], return_inverse=True)
    return _ratio_interval(np.bincount(row, value[known]), np.bincount(row), draws, seed)
