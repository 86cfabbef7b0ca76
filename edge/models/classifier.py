"""The classifier: crops (N, h, w, 3) to probabilities of its classes (N, K)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.models.batches import infer_rows
from edge.models.output_check import OutputCheck, RefusalReason
from edge.ports import Session
from edge.types import F32, U8, Picture
from edge.vision.box_crops import cut_box

_TOLERANCE = 1e-3  # of a sum of probabilities


class ContractClassifier:
    """Says which class a part of a picture is of, with a contract model.

    Attributes:
        classes: Names by class id.
        independent: Whether any number of the classes may hold, instead of one.
        check: Tells whether what it gives can be true.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.classes = manifest.classes
        self.independent = manifest.independent
        self.manifest = manifest
        self.check = OutputCheck(f"the classifier {manifest.name}")
        self._session = session

    def cut(self, picture: Picture, xyxy: F32) -> U8:
        """Cut a box ``(4,)`` out of a picture, with the model's margin: ``(h, w, 3)`` uint8 RGB."""
        manifest = self.manifest
        return cut_box(picture, xyxy, manifest.input_wh, manifest.crop_margin, manifest.placement)

    def classify(self, crops: U8) -> F32:
        """Probabilities of the classes: ``(N, h, w, 3)`` uint8 RGB -> ``(N, K)`` float32.

        A row that cannot be true becomes NaN, which decides nothing.
        """
        shape = (len(crops), len(self.classes))
        found = infer_rows(self._session, crops, "probabilities")
        if found.shape != shape:
            found = np.full(shape, np.nan, np.float32)
        finite = np.asarray(np.isfinite(found).all(axis=1))
        good = finite & np.all((found >= 0) & (found <= 1 + _TOLERANCE), axis=1)
        if not self.independent:
            good &= np.abs(found.sum(1) - 1) <= _TOLERANCE
        self.check.record_rows(good, finite, RefusalReason.SCORE)
        return np.where(good[:, None], found, np.nan).astype(np.float32)
