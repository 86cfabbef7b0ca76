"""What the pieces promise each other: protocols, no code."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge.types import Capture, Detections, Faces, Frame, Picture


class Source(Protocol):
    """A camera. Built once from its options, connected again after every failure.

    A source is driven by the one thread that connects it.
    """

    @property
    def address(self) -> str:
        """Where it reads from, without secrets, for logs and messages."""

    @property
    def every_frame(self) -> bool:
        """True for an evaluation file: its reader waits until each frame was taken."""

    def connect(self, stop: threading.Event) -> AbstractContextManager[Iterator[Capture]]:
        """Open the camera; iterate its captures; close on exit.

        The iterator ends only when the source is finished for good (a file that does not
        loop) or ``stop`` is set. Nothing blocks longer than the source's read time-out.

        Raises:
            SourceError: it cannot be opened, went silent, dropped the connection, or
                changed so that a new epoch must begin (picture size).
        """


class Session(Protocol):
    """A loaded model. Close it in a ``with contextlib.closing(...)``.

    As many threads as the runtime has lanes call ``infer`` at the same time.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata entries, among them ``edge.manifest``."""

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8 -> output name to array; the caller owns the arrays."""

    def close(self) -> None:
        """Free what the session holds."""


class Runtime(Protocol):
    """What executes model files."""

    @property
    def lanes(self) -> int:
        """Batches that are worth running side by side, each in a thread of its own."""

    def load(self, model: bytes, name: str) -> Session:
        """Load a model from its bytes; ``name`` is for messages.

        Raises:
            ModelError: the bytes are no model this runtime can execute.
        """


@runtime_checkable
class EngineRuntime(Runtime, Protocol):
    """A runtime whose ``load`` takes what another program has built before.

    Attributes:
        waits: until its engine is there, a model must not be run by anything else.
        build_timeout_s: a build that takes longer is to be given up.
    """

    waits: bool
    build_timeout_s: float

    def build_command(self, name: str, sha256: str) -> list[str]:
        """What builds the engine of the model file ``name`` so that ``load`` finds it."""

    def shrink(self) -> bool:
        """From here on ask for engines of smaller batches; False when there are none."""


class Model(Protocol):
    """A loaded model file."""

    @property
    def name(self) -> str:
        """Its name, shown on the wire."""

    @property
    def sha256(self) -> str:
        """Hash of the bytes that were loaded, in hex."""


class Detector(Model, Protocol):
    """Finds objects."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class_id."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One batch, one result a frame, boxes in source pixels."""


class FaceFinder(Model, Protocol):
    """Finds faces."""

    def find(self, frames: Sequence[Frame]) -> list[Faces]:
        """One batch, one result a frame; ``track_row`` is -1, ``quality`` 0."""


class Embedder(Model, Protocol):
    """Describes faces."""

    @property
    def threshold(self) -> float:
        """Cosine from which two faces are one person's, when two pictures are compared."""

    @property
    def dimension(self) -> int:
        """D."""

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(M, 112, 112, 3)`` uint8 RGB, aligned -> ``(M, D)`` of unit length."""


class LivenessModel(Model, Protocol):
    """Tells living faces from pictures of faces."""

    @property
    def clip_frames(self) -> int:
        """Pictures of a track that one answer takes."""

    @property
    def clip_s(self) -> float:
        """They must not span more, seconds."""

    def crops(self, picture: Picture, xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
        """``(S, h, w, 3)``: one face in one picture, at each scale."""

    def live(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, T, h, w, 3)`` -> ``(N,)`` probability, NaN where there is none."""
