"""Recognition without models: pictures of noise, faces where one says, embedders that obey."""

from __future__ import annotations

import itertools

import numpy as np

from edge.config import Recognition
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.recognizer import Recognizer
from edge.types import (
    Decision,
    Faces,
    Frame,
    FrameResult,
    RgbPicture,
    Tracks,
    YuvPicture,
)
from edge.vision.face_crops import FACE_POINTS

ADA, BOB = IndexedPerson("id-a", "Ada"), IndexedPerson("id-b", "Bob")
DIMENSION = 8
AXES = np.eye(DIMENSION, dtype=np.float32)
STEP_S = 0.25


def towards(*shares: float) -> np.ndarray:
    """A unit vector with these cosines to the first axes; the rest lies on the last one."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(shares)] = shares
    vector[-1] = np.sqrt(max(0.0, 1 - float(np.square(vector).sum())))
    return vector


def people() -> Index:
    """Ada lies on the first axis, Bob on the second."""
    return Index.build([ADA, BOB], [AXES[:1], AXES[1:2]], dimension=DIMENSION)


class ObedientEmbedder:
    """Gives the vectors it is told, the last one for ever."""

    name, sha256, dimension = "obedient", "ab" * 32, DIMENSION
    resampling = "halved_bilinear"

    def __init__(self, *vectors: np.ndarray) -> None:
        self.says = list(vectors)
        self.asked = 0

    def embed(self, faces: np.ndarray) -> np.ndarray:
        self.asked += len(faces)
        rows = [self.says.pop(0) if len(self.says) > 1 else self.says[0] for _ in faces]
        return np.stack(rows).astype(np.float32)


class ObedientLiveness:
    """Gives the probabilities it is told, the last one for ever."""

    name, sha256 = "obedient", "cd" * 32

    def __init__(self, *scores: float, clip_frames: int = 1, clip_s: float = 3.0) -> None:
        self.says = list(scores)
        self.clip_frames, self.clip_s = clip_frames, clip_s

    def crops(self, picture: RgbPicture | YuvPicture, xyxy: np.ndarray) -> np.ndarray:
        return np.zeros((1, 4, 4, 3), np.uint8)

    def live(self, clips: np.ndarray) -> np.ndarray:
        assert clips.shape[1] == self.clip_frames
        rows = [self.says.pop(0) if len(self.says) > 1 else self.says[0] for _ in clips]
        return np.array(rows, np.float32)


class Stage:
    """One camera and a recognizer; each `show` is a frame."""

    def __init__(
        self,
        embedder: ObedientEmbedder | None = None,
        liveness: ObedientLiveness | None = None,
        **settings: object,
    ) -> None:
        rules = Recognition.model_validate(
            {"gallery": "g", "key_file": "k", "embedder": "e", "threshold": 0.5, **settings}
        )
        self.embedder = embedder or ObedientEmbedder(AXES[0])
        self.recognizer = Recognizer(rules, self.embedder, liveness, itertools.count(100))
        self.recognizer.use(people(), 0.5)
        self._rng = np.random.default_rng(0)
        self._background = self._rng.integers(0, 200, (240, 320, 3), np.uint8)
        self._picture = self._background
        self.now_s = 10.0
        self.seq = 0

    def show(
        self,
        *at_xy: tuple[int, int],
        camera: str = "door",
        epoch: int = 1,
        owner: int = -1,
        still: bool = False,
        after_s: float = STEP_S,
        scale: float = 1,
        blind: bool = False,
    ) -> list[Decision]:
        """A frame with faces at these places, the first one in person ``owner``."""
        return list(self.event(*at_xy, camera=camera, epoch=epoch, owner=owner, still=still,
                               after_s=after_s, scale=scale, blind=blind).decisions)  # fmt: skip

    def event(
        self,
        *at_xy: tuple[int, int],
        camera: str = "door",
        epoch: int = 1,
        owner: int = -1,
        still: bool = False,
        after_s: float = STEP_S,
        scale: float = 1,
        blind: bool = False,
    ) -> FrameResult:
        """As `show`; the whole event."""
        self.now_s += after_s
        self.seq += 1
        if not still:
            self._picture = self._background.copy()
            for x, y in at_xy:  # faces change, the room does not
                noise = self._rng.integers(20, 235, (12, 10, 3), np.uint8)
                self._picture[y : y + 96, x : x + 80] = noise.repeat(8, 0).repeat(8, 1)
        picture = RgbPicture(self._picture)
        frame = Frame(camera, epoch, self.seq, self.now_s, self.now_s, picture, blind=blind)
        faces = faces_at(*at_xy, owned=owner >= 0, scale=scale)
        tracks = Tracks.empty()
        if owner >= 0:
            one = np.ones(1, np.int32)
            tracks = Tracks(np.array([[0, 0, 320, 240]], np.float32), np.ones(1, np.float32),
                            one * 0, np.array([owner]), one, one * 0, one > 1)  # fmt: skip
        event = FrameResult(frame, tracks, ((),) * len(tracks), faces, ())
        return self.recognizer.look([event])[0]

    def watch(self, times: int, **how: object) -> Decision:
        """The same face in several frames; the last decision."""
        for _ in range(times):
            (decision,) = self.show((40, 40), **how)
        return decision


def faces_at(*at_xy: tuple[int, int], owned: bool = False, scale: float = 1) -> Faces:
    """Faces of 80x96 pixels or ``scale`` times that; the first may lie in the first track."""
    count = len(at_xy)
    corner = np.array(at_xy, np.float32).reshape(count, 2)
    points = corner[:, None] + (FACE_POINTS - [16, 12])[None] * scale
    row = np.full(count, -1, np.int32)
    if owned:
        row[0] = 0
    return Faces(
        np.concatenate([corner, corner + np.array([80, 96]) * scale], axis=1).astype(np.float32),
        np.full(count, 0.9, np.float32),
        points.astype(np.float32),
        row,
        np.zeros(count, np.float32),
    )
