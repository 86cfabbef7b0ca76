"""A contract model with a picture input: letterbox a batch, run it, hand over its rows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge.errors import ModelError
from edge.manifest import Manifest, Task, read_model
from edge.ports import Runtime, Session
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


def load_picture_model(
    runtime: Runtime, path: Path, sha256: str, task: Task, outputs: Mapping[str, tuple[int, ...]]
) -> PictureModel:
    """Load a model and check that it keeps the contract of its task.

    Args:
        runtime: what executes it.
        path: its file.
        sha256: pinned hash, or empty.
        task: what it must be for.
        outputs: name of each contract output and its shape after batch and rows.

    Raises:
        ModelError: missing, broken, untrusted, of another task, or not of the contract.
    """
    model = read_model(path, sha256)
    session = runtime.load(model, str(path))
    manifest = Manifest.from_metadata(session.metadata, str(path), task)
    width, height = manifest.input_wh
    try:
        given = session.infer(np.zeros((1, height, width, 3), np.uint8))
    except ModelError as error:
        raise ModelError(f"{path} does not take {width}x{height} pictures: {error}") from error
    for name, tail in outputs.items():
        value = given.get(name)
        if value is None or value.dtype != np.float32 or value.shape[2:] != tail:
            shape = ", ".join(map(str, ("N", "K", *tail)))
            raise ModelError(
                f"{path} has no float32 output {name!r} ({shape}), which a {task} model must "
                "have: export or adopt it again"
            )
    return PictureModel(session, manifest, hashlib.sha256(model).hexdigest())
