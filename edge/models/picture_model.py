"""A contract model with a picture input: letterbox a batch, run it, hand over its rows."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8, Frame, Letterbox
from edge.vision import preprocess


class PictureModel:
    """Runs a session on letterboxed frames.

    Args:
        session: the loaded model.
        manifest: what it promises.
        sha256: hash of its bytes.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.sha256 = sha256
        self._session = session
        self._room = _Room(manifest.input_wh)

    def run(self, frames: Sequence[Frame]) -> tuple[Mapping[str, F32], list[Letterbox]]:
        """One batch: output name to array, and where each frame lies in its input."""
        images = self._room.images(len(frames))
        align, fill = self.manifest.letterbox_align, self.manifest.letterbox_fill
        placed = [
            preprocess.letterbox(frame.picture, image, align, fill)
            for frame, image in zip(frames, images, strict=True)
        ]
        return self._session.infer(images), placed


class _Room(threading.local):
    """Where a thread lays its pictures: fresh pages cost more than the arithmetic."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self._images: U8 = np.empty((0, size_wh[1], size_wh[0], 3), np.uint8)

    def images(self, count: int) -> U8:
        """``(count, h, w, 3)``, overwritten by the thread's next call."""
        if count > len(self._images):
            self._images = np.empty((count, *self._images.shape[1:]), np.uint8)
        return self._images[:count]
