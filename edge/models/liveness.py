"""The liveness model: wide crops of faces (N, T, h, w, 3) to probabilities (N,)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.models.batches import infer_rows
from edge.models.output_check import OutputCheck, RefusalReason
from edge.ports import Session
from edge.types import F32, U8, Picture
from edge.vision.face_crops import crop_wide


class ContractLiveness:
    """Tells living faces from pictures of faces with a contract model.

    Attributes:
        clip_frames: Pictures of a face per clip.
        clip_s: Longest time a clip may span, seconds.
        check: Tells whether what it gives can be true.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.clip_frames = manifest.clip_frames
        self.clip_s = manifest.clip_s
        self.manifest = manifest
        self.check = OutputCheck(f"the liveness model {manifest.name}")
        self._session = session

    def crops(self, picture: Picture, xyxy: F32) -> U8:
        """Crop the face ``(4,)`` of one picture at each scale: ``(S, h, w, 3)`` uint8 RGB."""
        size_wh, resampling = self.manifest.input_wh, self.manifest.resampling
        scales = self.manifest.crop_scales
        return np.stack([crop_wide(picture, xyxy, s, size_wh, resampling) for s in scales])

    def live(self, clips: U8) -> F32:
        """Probability that faces are live: ``(N, T, h, w, 3)`` uint8 RGB -> ``(N,)`` float32.

        T runs over the pictures of a clip, oldest first, each at every scale. An output that is
        not a probability becomes NaN, which never counts as live.
        """
        live = infer_rows(self._session, clips, "live")
        if live.shape != (len(clips),):
            live = np.full(len(clips), np.nan, np.float32)
        good = (live >= 0) & (live <= 1)  # NaN is not
        self.check.record_rows(good, np.isfinite(live), RefusalReason.SCORE)
        return np.where(good, live, np.nan).astype(np.float32)
