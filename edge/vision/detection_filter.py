"""The detection filter: which detections of a camera count."""

from __future__ import annotations

import numpy as np

from edge.config import Camera
from edge.types import Bool, Detections
from edge.vision import boxes
from edge.vision.labels import class_id, class_mask
from edge.vision.polygons import Polygons


class DetectionFilter:
    """Drops detections by a camera's `labels`, `min_score`, `min_height` and `masks`.

    Raises:
        ConfigError: The model does not have one of the labels.
    """

    def __init__(self, camera: Camera, classes: tuple[str, ...]) -> None:
        enabled = class_mask(camera.labels, classes, camera.name, "labels")
        self._min_score = np.where(enabled, -np.inf, np.inf).astype(np.float32)  # (C,)
        for label, score in camera.min_score.items():
            row = class_id(label, classes, camera.name, "min_score")
            self._min_score[row] = max(self._min_score[row], score)
        self._min_height = np.zeros(len(classes), np.float32)  # (C,)
        for label, height in camera.min_height.items():
            self._min_height[class_id(label, classes, camera.name, "min_height")] = height
        self._masks = Polygons(camera.masks)
        self._by_score = bool(np.isfinite(self._min_score).any() or not enabled.all())
        self._by_height = bool(self._min_height.any())

    def keep(self, detections: Detections, size_wh: tuple[int, int]) -> Detections:
        """The detections that count, in an image of ``size_wh`` pixels."""
        if not len(detections) or not (self._by_score or self._by_height or len(self._masks)):
            return detections
        keep = self._select(detections, size_wh)
        return detections if keep.all() else detections[keep]

    def _select(self, detections: Detections, size_wh: tuple[int, int]) -> Bool:
        keep: Bool = detections.score >= self._min_score[detections.class_id]
        if self._by_height:
            height_px = detections.xyxy[:, 3] - detections.xyxy[:, 1]
            keep &= height_px >= self._min_height[detections.class_id] * size_wh[1]
        if len(self._masks):
            feet = boxes.locate_feet(detections.xyxy, size_wh)
            keep &= ~self._masks.contain(feet).any(axis=1)
        return keep
