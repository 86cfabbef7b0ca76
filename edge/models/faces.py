"""The face finder: ``detections`` (B, K, 6) and ``landmarks`` (B, K, 5, 2) to faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.models.picture_model import PictureModel
from edge.types import F32, Faces, Frame, Letterbox


class ContractFaceFinder:
    """Finds faces with a contract model."""

    def __init__(self, model: PictureModel) -> None:
        self._model = model
        self.name = model.name
        self.sha256 = model.sha256

    def find(self, frames: Sequence[Frame]) -> list[Faces]:
        """Run one batch: one result per frame, boxes and landmarks in source pixels."""
        outputs, letterboxes = self._model.run(frames)
        columns = zip(outputs["detections"], outputs["landmarks"], letterboxes, strict=True)
        return [_read(rows, points, letterbox) for rows, points, letterbox in columns]


def _read(rows: F32, points: F32, letterbox: Letterbox) -> Faces:
    used = (rows[:, 4] > 0) & np.isfinite(rows).all(axis=1) & np.isfinite(points).all(axis=(1, 2))
    rows, points = rows[used], points[used]
    if not len(rows):
        return Faces.empty()
    xyxy = letterbox.to_source(rows[:, :4])
    faces = Faces(
        xyxy,
        rows[:, 4].copy(),
        letterbox.points_to_source(points),
        np.full(len(rows), -1, np.int32),
        np.zeros(len(rows), np.float32),
    )
    size = xyxy[:, 2:] - xyxy[:, :2]
    return faces[size.min(axis=1) > 0]
