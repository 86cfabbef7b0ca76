"""Protocols between the parts; no code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge.types import (
    Capture,
    Decoding,
    Detections,
    Faces,
    Frame,
    Picture,
    Resampling,
    StreamPacket,
)


class Source(Protocol):
    """A camera. Created once from its options, reconnected after every failure.

    A source is used by the one thread that connects it.
    """

    @property
    def address(self) -> str:
        """Where it reads from, without secrets, for logs and messages."""

    @property
    def every_frame(self) -> bool:
        """True for a file that is read without dropping frames: its reader waits for inference."""

    def connect(self, stop: threading.Event) -> AbstractContextManager[Iterator[Capture]]:
        """Open the camera; iterate its captures; close on exit.

        The iterator ends only when the source is finished for good (a file that does not
        loop) or ``stop`` is set. Nothing blocks longer than the source's read timeout.

        Raises:
            SourceError: It cannot be opened, went silent, lost the connection, or changed in a
                way that starts a new epoch (picture size).
        """


@runtime_checkable
class SparingSource(Source, Protocol):
    """A camera whose stream need not be decoded whole.

    Attributes:
        decoding: How much to decode, from the next key frame on; may be set at any time. Pictures
            that are left out give no captures.
        max_fps: How many captures a second are asked for; may be set at any time. Other pictures
            are decoded where the stream needs it and give none, unless they are key frames of a
            stream that has others.
    """

    decoding: Decoding
    max_fps: float


@runtime_checkable
class CodedSource(Source, Protocol):
    """A camera whose pictures come coded.

    Attributes:
        tap: Called in a thread of the source with every packet, before it is decoded; must be
            quick. None where nobody asks.
    """

    tap: Callable[[StreamPacket], None] | None


@runtime_checkable
class SoundSource(CodedSource, Protocol):
    """A camera whose sound can be had as well.

    Attributes:
        on_sound: Called at each connection with why its sound is not handed to the tap, or with
            nothing. None leaves sound out.
    """

    on_sound: Callable[[str], None] | None


class Session(Protocol):
    """A loaded model. Close it in a ``with contextlib.closing(...)``.

    As many threads as the runtime has workers call ``infer`` at the same time.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata entries, including ``edge.manifest``."""

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8 -> output name to array; the caller owns the arrays."""

    def close(self) -> None:
        """Free the session's resources."""


class Runtime(Protocol):
    """Executes model files."""

    @property
    def workers(self) -> int:
        """The number of batches that are worth running side by side, one thread each."""

    def load(self, model: bytes, name: str) -> Session:
        """Load a model from its bytes; ``name`` is for messages.

        Raises:
            ModelError: The bytes are not a model that this runtime can execute.
        """


@runtime_checkable
class EngineRuntime(Runtime, Protocol):
    """A runtime whose ``load`` needs an engine that another program has built.

    Attributes:
        waits: Whether a model must not run on anything else until its engine is there.
        build_timeout_s: How long a build may take, in seconds.
    """

    waits: bool
    build_timeout_s: float

    def build_command(self, name: str, sha256: str) -> list[str]:
        """The command that builds the engine of the model file ``name`` for ``load``."""

    def shrink(self) -> bool:
        """From here on use engines of smaller batches; False when there are none."""


@runtime_checkable
class SerialRuntime(Runtime, Protocol):
    """A runtime in which a batch takes about as long as its pictures one by one."""

    @property
    def max_batch_size(self) -> int:
        """Cameras that share a batch at most; 0 is all of them, for the batch pays after all."""


class LoadedModel(Protocol):
    """A loaded model file."""

    @property
    def name(self) -> str:
        """Its name, shown in messages."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes that were loaded, in hex."""


class Detector(LoadedModel, Protocol):
    """Detects objects."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class_id."""

    @property
    def input_wh(self) -> tuple[int, int]:
        """Width and height of the network's input, in pixels."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Run one batch: one result per frame, boxes in source pixels."""


class FaceFinder(LoadedModel, Protocol):
    """Detects faces."""

    def find(self, frames: Sequence[Frame]) -> list[Faces]:
        """Run one batch: one result per frame; ``track_row`` is -1, ``quality`` 0."""


class Embedder(LoadedModel, Protocol):
    """Computes face embeddings."""

    @property
    def threshold(self) -> float:
        """Cosine from which two faces are one person's, when two pictures are compared."""

    @property
    def dimension(self) -> int:
        """D."""

    @property
    def resampling(self) -> Resampling:
        """How pictures are resized where its faces are aligned."""

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(M, 112, 112, 3)`` uint8 RGB, aligned -> ``(M, D)`` of unit length."""


class LivenessModel(LoadedModel, Protocol):
    """Detects presentation attacks: live faces against pictures of faces."""

    @property
    def clip_frames(self) -> int:
        """Frames of a track that one answer takes."""

    @property
    def clip_s(self) -> float:
        """The time that these frames may span, in seconds."""

    def crops(self, picture: Picture, xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
        """``(S, h, w, 3)``: crops of one face in one picture, one per scale."""

    def live(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, T, h, w, 3)`` -> ``(N,)`` probability of live; NaN where there is none."""


class Classifier(LoadedModel, Protocol):
    """Says which class a part of a picture is of."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class_id."""

    @property
    def independent(self) -> bool:
        """Whether any number of the classes may hold, instead of one."""

    def cut(self, picture: Picture, xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
        """``(h, w, 3)``: a box ``(4,)`` of a picture, source pixels, as the network takes it."""

    def classify(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, h, w, 3)`` -> ``(N, K)`` probabilities; NaN where there are none."""
