"""Witnesses of life: what speaks for or against a living face beside the liveness model.

Each sees every look at one face and says what its looks together are worth, as log-likelihood
ratios. They are bounded, because the data they were measured on are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from edge.types import F32, U8, Picture


@dataclass(frozen=True, slots=True)
class Testimony:
    """What a witness says, in nats.

    Attributes:
        picture: Of a living face against a picture that is held or moved.
        video: Of a living face against a video on a screen.
    """

    picture: float = 0.0
    video: float = 0.0

    @property
    def strongest(self) -> float:
        """The one that is farther from nothing."""
        return max(self.picture, self.video, key=abs)


SILENCE = Testimony()


@dataclass(frozen=True, slots=True, eq=False)
class LivenessLook:
    """What witnesses see.

    Attributes:
        picture: The whole picture.
        crop: The aligned face, ``(112, 112, 3)`` uint8 RGB.
        xyxy: ``(4,)`` float32, the face in pixels of the picture.
        landmarks: ``(5, 2)`` float32, the same.
        at_s: Monotonic seconds.
    """

    picture: Picture
    crop: U8
    xyxy: F32
    landmarks: F32
    at_s: float


class Witness(Protocol):
    """One kind of evidence about one face."""

    name: ClassVar[str]

    def look(self, look: LivenessLook) -> bool:
        """Look at the face; False if it cannot be what was seen before."""

    def testify(self) -> Testimony:
        """What all looks say together."""
