"""Weighted box fusion, test-time augmentation and ensembles of detectors.

``passes`` is the number of inferences per picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.types import F32, Detections, RgbPicture
from edge.vision import boxes

Detect = Callable[[RgbPicture], Detections]


def passes(detect: Detect) -> int:
    """Inferences per picture; 1 for a plain detector."""
    return int(getattr(detect, "passes", 1))


@dataclass(slots=True)
class _Cluster:
    """Boxes of one object."""

    class_id: int
    xyxy: np.ndarray  # (4,) mean weighted by score
    mass: float
    scores: dict[int, float]  # best weighted score by view

    def add(self, xyxy: np.ndarray, mass: float, view: int) -> None:
        self.xyxy = (self.xyxy * self.mass + xyxy * mass) / (self.mass + mass)
        self.mass += mass
        self.scores[view] = max(mass, self.scores.get(view, 0.0))


def _rows(
    detections: Sequence[Detections], weight: Sequence[float]
) -> list[tuple[float, int, int]]:
    """Weighted score, view and row of every detection, by falling weighted score."""
    rows = [
        (float(d.score[n]) * w, view, n)
        for view, (d, w) in enumerate(zip(detections, weight, strict=True))
        for n in range(len(d))
    ]
    return sorted(rows, key=lambda r: (-r[0], r[1], r[2]))


def _clusters(
    detections: Sequence[Detections], weight: Sequence[float], iou: float
) -> list[_Cluster]:
    clusters: list[_Cluster] = []
    for mass, view, n in _rows(detections, weight):
        box, class_id = (
            detections[view].xyxy[n].astype(np.float64),
            int(detections[view].class_id[n]),
        )
        rivals = [c for c in clusters if c.class_id == class_id]
        overlap = boxes.iou(box[None], np.array([c.xyxy for c in rivals]).reshape(-1, 4))[0]
        best = int(np.argmax(overlap)) if rivals else -1
        if rivals and overlap[best] > iou:
            rivals[best].add(box, mass, view)
        else:
            clusters.append(_Cluster(class_id, box, mass, {view: mass}))
    return clusters


def weighted_box_fusion(
    detections: Sequence[Detections],
    weight: Sequence[float] = (),
    iou: float = 0.55,
    regions: F32 | None = None,
) -> Detections:
    """Fuse the detections of V views (Solovyev et al., 2021, "Weighted boxes fusion").

    Overlapping boxes of a class become their mean, weighted by score. The score is the mean over
    the views that contain the object, so that detections of a single view count less.

    Args:
        detections: Detections of each view, source pixels.
        weight: Of each view; equal unless given.
        iou: Boxes that overlap by more are one object.
        regions: ``(V, 4)`` region of each view; the whole picture unless given.
    """
    weights = list(weight) or [1.0] * len(detections)
    if len(weights) != len(detections) or min(weights, default=1) <= 0:
        raise ValueError(f"expected {len(detections)} positive weights, got {weights}")
    clusters = _clusters(detections, weights, iou)
    if not clusters:
        return Detections.empty()
    xyxy = np.stack([c.xyxy for c in clusters]).astype(np.float32)
    score = np.array([_score(c, weights, regions) for c in clusters], np.float32)
    order = np.argsort(-score, kind="stable")
    class_id = np.array([c.class_id for c in clusters], np.int32)
    return Detections(xyxy[order], score[order], class_id[order])


_INSIDE = 0.999  # share of a box inside a region that counts as seen; 1 but for rounding


def _score(cluster: _Cluster, weights: Sequence[float], regions: F32 | None) -> float:
    """Sum of weighted scores over the weights of all views that contain the object."""
    views = set(range(len(weights)))
    if regions is not None:
        share = boxes.containment(cluster.xyxy[None].astype(np.float32), regions)[0]
        views = set(np.flatnonzero(share >= _INSIDE).tolist()) | set(cluster.scores)
    return sum(cluster.scores.values()) / sum(weights[v] for v in views)


def _mirrored(detections: Detections, width: int) -> Detections:
    xyxy = detections.xyxy.copy()
    xyxy[:, [0, 2]] = np.float32(width) - xyxy[:, [2, 0]]
    return Detections(xyxy, detections.score, detections.class_id)


@dataclass(frozen=True, slots=True)
class Flip:
    """Detect in the picture and in its mirror image; ``iou`` is that of the fusion."""

    detect: Detect
    iou: float = 0.55

    @property
    def passes(self) -> int:
        """Inferences per picture."""
        return 2 * passes(self.detect)

    def __call__(self, picture: RgbPicture) -> Detections:
        """Detections in source pixels."""
        mirrored = RgbPicture(np.ascontiguousarray(picture.rgb[:, ::-1]))
        views = [self.detect(picture), _mirrored(self.detect(mirrored), picture.size_wh[0])]
        return weighted_box_fusion(views, iou=self.iou)


_BORDER_PX = 2.0


@dataclass(frozen=True, slots=True)
class MultiCrop:
    """Detect in the whole picture and in overlapping crops, for small objects.

    Detections at an inner border of a crop are left to the whole picture or another crop.

    Attributes:
        grid: Crops across and down; raising it detects smaller objects at quadratic cost.
        overlap: Overlap of a crop with its neighbor, as a fraction of the crop.
        iou: IoU threshold of the fusion.
    """

    detect: Detect
    grid: int = 2
    overlap: float = 0.25
    iou: float = 0.55

    @property
    def passes(self) -> int:
        """Inferences per picture."""
        return (1 + self.grid**2) * passes(self.detect)

    def regions(self, size_wh: tuple[int, int]) -> F32:
        """``(1 + grid * grid, 4)`` the whole picture and its crops, whole pixels."""
        w, h = size_wh
        share = 1 / (self.grid - (self.grid - 1) * self.overlap)
        starts = np.linspace(0, 1 - share, self.grid)
        parts = [[x * w, y * h, (x + share) * w, (y + share) * h] for y in starts for x in starts]
        return np.round([[0, 0, w, h], *parts]).astype(np.float32)

    def __call__(self, picture: RgbPicture) -> Detections:
        """Detections in source pixels."""
        regions = self.regions(picture.size_wh)
        views = [self._look(picture, region) for region in regions]
        inner = regions + _BORDER_PX * np.array(regions != regions[0], np.float32) * np.array(
            [1, 1, -1, -1], np.float32
        )  # where _look would call nothing cut
        return weighted_box_fusion(views, iou=self.iou, regions=inner)

    def _look(self, picture: RgbPicture, region: F32) -> Detections:
        x1, y1, x2, y2 = (int(v) for v in region)
        detections = self.detect(RgbPicture(np.ascontiguousarray(picture.rgb[y1:y2, x1:x2])))
        xyxy = detections.xyxy + np.array([x1, y1, x1, y1], np.float32)
        w, h = picture.size_wh
        cut = (
            ((xyxy[:, 0] < x1 + _BORDER_PX) & (x1 > 0))
            | ((xyxy[:, 1] < y1 + _BORDER_PX) & (y1 > 0))
            | ((xyxy[:, 2] > x2 - _BORDER_PX) & (x2 < w))
            | ((xyxy[:, 3] > y2 - _BORDER_PX) & (y2 < h))
        )
        return Detections(xyxy, detections.score, detections.class_id)[~cut]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Fuse several detectors of the same classes, with equal weight unless given."""

    detects: tuple[Detect, ...]
    weight: tuple[float, ...] = ()
    iou: float = 0.55

    @property
    def passes(self) -> int:
        """Inferences per picture."""
        return sum(passes(d) for d in self.detects)

    def __call__(self, picture: RgbPicture) -> Detections:
        """Detections in source pixels."""
        views = [detect(picture) for detect in self.detects]
        return weighted_box_fusion(views, self.weight, self.iou)
