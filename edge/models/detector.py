"""The detector: contract output ``detections`` (B, K, 6) to objects in source pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.models.picture_model import PictureModel
from edge.types import F32, Detections, Frame, Letterbox


class ContractDetector:
    """Finds objects with a contract model."""

    def __init__(self, model: PictureModel) -> None:
        self._model = model
        self.name = model.name
        self.sha256 = model.sha256
        self.classes = model.manifest.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Run one batch: one result per frame, boxes in source pixels."""
        outputs, letterboxes = self._model.run(frames)
        pairs = zip(outputs["detections"], letterboxes, strict=True)
        return [self._read(rows, letterbox) for rows, letterbox in pairs]

    def _read(self, rows: F32, letterbox: Letterbox) -> Detections:
        rows = drop_unused_rows(rows)  # (N, 6)
        if not len(rows):
            return Detections.empty()
        xyxy = letterbox.to_source(rows[:, :4])
        class_id = rows[:, 5].astype(np.int32)
        detections = Detections(xyxy, rows[:, 4].copy(), class_id)
        size = xyxy[:, 2:] - xyxy[:, :2]
        known = class_id.view(np.uint32) < len(self.classes)  # a negative id becomes a large one
        if size.min() > 0 and known.all():
            return detections
        return detections[(size > 0).all(axis=1) & known]


def drop_unused_rows(rows: F32) -> F32:
    """``(K, 6)`` contract rows -> ``(N, 6)``: those with a detection and without NaN.

    The contract sorts by score and zeroes unused rows, so the used ones come first.
    """
    rows = rows[: np.count_nonzero(rows[:, 4])]
    finite = np.isfinite(rows)
    return rows if finite.all() else rows[finite.all(axis=1)]
