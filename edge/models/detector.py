"""The detector: contract output ``detections`` (B, K, 6) to objects in source pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.models.batch import PictureModel, load_picture_model
from edge.ports import Runtime
from edge.types import F32, Bool, Detections, Frame, Letterbox


class ContractDetector:
    """Finds objects with a contract model."""

    def __init__(self, model: PictureModel) -> None:
        self._model = model
        self.name = model.name
        self.sha256 = model.sha256
        self.classes = model.manifest.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One batch, one result a frame, boxes in source pixels."""
        outputs, placed = self._model.run(frames)
        return [
            self._read(rows, box) for rows, box in zip(outputs["detections"], placed, strict=True)
        ]

    def _read(self, rows: F32, placed: Letterbox) -> Detections:
        rows = rows[used_rows(rows)]  # (N, 6)
        xyxy = placed.to_source(rows[:, :4])
        seen = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        seen &= (rows[:, 5] >= 0) & (rows[:, 5] < len(self.classes))
        class_id = rows[seen, 5].astype(np.int32)
        return Detections(xyxy[seen], rows[seen, 4].copy(), class_id)


def used_rows(rows: F32) -> Bool:
    """``(K, 6)`` contract rows -> ``(K,)``: those that hold a finding, and no NaN."""
    used: Bool = (rows[:, 4] > 0) & np.isfinite(rows).all(axis=1)
    return used


def load_detector(runtime: Runtime, path: Path, sha256: str = "") -> ContractDetector:
    """Load a detector.

    Raises:
        ModelError: see `load_picture_model`.
    """
    return ContractDetector(
        load_picture_model(runtime, path, sha256, "detect", {"detections": (6,)})
    )
