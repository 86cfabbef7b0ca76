"""68 points: aligned faces (N, h, w, 3) to where their points lie (N, 68, 2)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.models.batches import infer_rows
from edge.models.output_check import OutputCheck, RefusalReason
from edge.ports import Session
from edge.types import F32, U8, Picture
from edge.vision.face_crops import align_face, fit_alignment

POINTS68 = 68
_MAX_SIDES = 2  # a point may lie this many sides of the crop outside, as of a face cut off


class ContractLandmarks:
    """Finds 68 points of faces (iBUG, 300-W) with a contract model.

    Attributes:
        check: Tells whether what it gives can be true.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.manifest = manifest
        self.check = OutputCheck(f"the landmarks model {manifest.name}")
        self._session = session

    def crop(self, picture: Picture, five: F32) -> U8:
        """Align a face by ``(5, 2)`` points, with the model's margin: ``(h, w, 3)`` uint8 RGB."""
        manifest = self.manifest
        side, margin = manifest.input_wh[0], manifest.crop_margin
        return align_face(picture, five, side, manifest.resampling, margin)

    def find(self, crops: U8) -> F32:
        """``(N, h, w, 3)`` uint8 RGB, aligned -> ``(N, 68, 2)`` float32, pixels of the crops.

        A row that cannot be true becomes NaN.
        """
        shape = (len(crops), POINTS68, 2)
        found = infer_rows(self._session, crops, "points")
        if found.shape != shape:
            found = np.full(shape, np.nan, np.float32)
        reach = _MAX_SIDES * self.manifest.input_wh[0]
        good = np.asarray((np.abs(found) <= reach).all(axis=(1, 2)))  # NaN is not
        finite = np.asarray(np.isfinite(found).all(axis=(1, 2)))
        self.check.record_rows(good, finite, RefusalReason.OUTSIDE)
        return np.where(good[:, None, None], found, np.nan).astype(np.float32)

    def find_in(self, picture: Picture, fives: F32) -> F32:
        """``(M, 5, 2)`` points of faces -> ``(M, 68, 2)`` in pixels of the picture.

        NaN where the five are in one place, or what was found cannot be true.
        """
        if not len(fives):
            return np.zeros((0, POINTS68, 2), np.float32)
        found = self.find(np.stack([self.crop(picture, five) for five in fives]))
        side, margin = self.manifest.input_wh[0], self.manifest.crop_margin
        placed = []
        for points, five in zip(found, fives, strict=True):
            fitted = fit_alignment(five, side, margin, picture.pixel_aspect)
            placed.append(fitted.to_picture(points) if fitted else np.full_like(points, np.nan))
        return np.stack(placed)
