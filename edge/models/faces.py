"""The face finder: ``detections`` (B, K, 6) and ``landmarks`` (B, K, 5, 2) to faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.models.output_check import OutputCheck, RefusalReason, Refusals, RowCheck, to_picture
from edge.models.picture_model import PictureModel
from edge.types import F32, Faces, Frame, Letterbox


class ContractFaceFinder:
    """Finds faces with a contract model.

    Attributes:
        check: Tells whether what it gives can be true.
    """

    def __init__(self, model: PictureModel) -> None:
        self._model = model
        self.name = model.name
        self.sha256 = model.sha256
        self.check = OutputCheck(f"the faces model {model.name}")
        self._rows = RowCheck(model.manifest)

    def find(self, frames: Sequence[Frame]) -> list[Faces]:
        """Run one batch: one result per frame, boxes and landmarks in source pixels."""
        outputs, letterboxes = self._model.run(frames)
        refused = Refusals()
        columns = zip(outputs["detections"], outputs["landmarks"], letterboxes, strict=True)
        found = [self._read(rows, points, placed, refused) for rows, points, placed in columns]
        self.check.record(refused, sum(map(len, found)))
        return found

    def _read(self, rows: F32, points: F32, letterbox: Letterbox, refused: Refusals) -> Faces:
        used = rows[:, 4] != 0
        if not used.any():
            return Faces.empty()
        rows, points = rows[used], points[used]
        good = self._rows.select(rows, refused)
        finite = np.isfinite(points).all(axis=(1, 2))
        if lost := int((good & ~finite).sum()):
            refused[RefusalReason.NOT_FINITE] += lost
        rows, points = rows[good & finite], points[good & finite]
        xyxy, seen = to_picture(rows, letterbox, refused)
        faces = Faces(
            xyxy,
            np.minimum(rows[:, 4], 1),
            letterbox.points_to_source(points),
            np.full(len(rows), -1, np.int32),
            np.zeros(len(rows), np.float32),
        )
        return faces if seen.all() else faces[seen]
