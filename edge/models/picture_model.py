"""Picture models: contract models that take letterboxed frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8, Frame, Letterbox
from edge.vision import preprocess


class PictureModel:
    """Runs a session on letterboxed frames."""

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.sha256 = sha256
        self._session = session
        self._buffer = _InputBuffer(manifest.input_wh)

    def run(self, frames: Sequence[Frame]) -> tuple[Mapping[str, F32], list[Letterbox]]:
        """Run one batch: outputs by name, and the letterbox of each frame."""
        images = self._buffer.reserve(len(frames))
        letterboxes = [
            preprocess.letterbox(frame.picture, image, self.manifest.placement)
            for frame, image in zip(frames, images, strict=True)
        ]
        return self._session.infer(images), letterboxes


class _InputBuffer(threading.local):
    """A thread's input batch, reused because fresh pages cost more than the arithmetic."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self._images: U8 = np.empty((0, size_wh[1], size_wh[0], 3), np.uint8)

    def reserve(self, count: int) -> U8:
        """``(count, h, w, 3)``, overwritten by the thread's next call."""
        if count > len(self._images):
            self._images = np.empty((count, *self._images.shape[1:]), np.uint8)
        return self._images[:count]
