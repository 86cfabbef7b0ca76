"""The liveness network: wide crops of faces (N, T, h, w, 3) to probabilities (N,)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8, Picture
from edge.vision.face_crops import crop_wide

MOST = 32  # clips a batch


class ContractLiveness:
    """Tells living faces from pictures of faces with a contract model.

    Args:
        session: the loaded model.
        manifest: what it promises.
        sha256: hash of its bytes.

    Attributes:
        clip_frames: pictures of a track that one answer takes.
        clip_s: they must not span more, seconds.
        manifest: what it promises.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.clip_frames = manifest.clip_frames
        self.clip_s = manifest.clip_s
        self.manifest = manifest
        self._session = session

    def crops(self, picture: Picture, xyxy: F32) -> U8:
        """What the network sees of one face in one picture: ``(S, h, w, 3)``, a scale each.

        Args:
            picture: any size.
            xyxy: ``(4,)`` float32, the face in pixels of the picture.
        """
        size_wh = self.manifest.input_wh
        return np.stack(
            [crop_wide(picture, xyxy, scale, size_wh) for scale in self.manifest.crop_scales]
        )

    def live(self, clips: U8) -> F32:
        """How likely faces are alive: ``(N, T, h, w, 3)`` uint8 RGB -> ``(N,)`` float32 in [0, 1].

        T is the pictures of a clip, oldest first, each at every scale. Whatever is no probability
        comes back as NaN, which nobody takes for alive.
        """
        parts = [
            self._session.infer(clips[row : row + MOST])["live"]
            for row in range(0, len(clips), MOST)
        ]
        live = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if live.shape != (len(clips),):
            return np.full(len(clips), np.nan, np.float32)
        return np.where((live >= 0) & (live <= 1), live, np.nan).astype(np.float32)
