"""The detector: contract output ``detections`` (B, K, 6) to objects in source pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.models.output_check import OutputCheck, Refusals, RowCheck, to_picture
from edge.models.picture_model import PictureModel
from edge.types import F32, Detections, Frame, Letterbox


class ContractDetector:
    """Finds objects with a contract model.

    Attributes:
        check: Tells whether what it gives can be true.
    """

    def __init__(self, model: PictureModel) -> None:
        self._model = model
        self.name = model.name
        self.sha256 = model.sha256
        self.classes = model.manifest.classes
        self.input_wh = model.manifest.input_wh
        self.check = OutputCheck(f"the detect model {model.name}")
        self._rows = RowCheck(model.manifest)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Run one batch: one result per frame, boxes in source pixels."""
        outputs, letterboxes = self._model.run(frames)
        refused = Refusals()
        pairs = zip(outputs["detections"], letterboxes, strict=True)
        found = [self._read(rows, letterbox, refused) for rows, letterbox in pairs]
        self.check.record(refused, sum(map(len, found)))
        return found

    def _read(self, rows: F32, letterbox: Letterbox, refused: Refusals) -> Detections:
        rows = drop_unused_rows(rows)  # (N, 6)
        if not len(rows):
            return Detections.empty()
        good = self._rows.select(rows, refused)
        rows = rows if good.all() else rows[good]
        xyxy, seen = to_picture(rows, letterbox, refused)
        score, class_id = np.minimum(rows[:, 4], 1), rows[:, 5].astype(np.int32)
        detections = Detections(xyxy, score, class_id)
        return detections if seen.all() else detections[seen]


def drop_unused_rows(rows: F32) -> F32:
    """``(K, 6)`` contract rows -> ``(N, 6)`` with a score; a NaN is one."""
    used = rows[:, 4] != 0
    count = np.count_nonzero(used)
    return rows[:count] if used[:count].all() else rows[used]  # sorted, in nearly all models
