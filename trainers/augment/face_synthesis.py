"""Synthetic identities: new faces from existing ones, to be embedded by a teacher.

Two hundred people are few. A teacher embeds any face, so faces may be blended, bent and occluded:
each is a new person. The artifacts of a poor camera come last and do not change the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import U8
from edge.vision.face_crops import FACE_PX
from trainers.augment.augment import Augment, Rng, Sometimes, apply
from trainers.augment.color import CheapCamera, ColorShift, Night
from trainers.data.dataset import Sample, no_labels


def _apply(crop: U8, augments: tuple[Augment, ...], rng: Rng) -> U8:
    return apply(augments, Sample(crop, **no_labels(), name="", group=""), rng).image


def blend_faces(first: U8, second: U8, rng: Rng) -> U8:
    """Blend two faces ``(112, 112, 3)``: everywhere, or half of each with a soft seam."""
    if rng.random() < 0.4:
        share = np.full((FACE_PX, FACE_PX), rng.uniform(0.3, 0.7), np.float32)
    else:
        angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.65)
        y, x = np.mgrid[:FACE_PX, :FACE_PX].astype(np.float32) / FACE_PX
        along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5
        share = np.clip((along - at) / rng.uniform(0.05, 0.4) + 0.5, 0, 1)
    mixed = first * share[..., None] + second * (1 - share[..., None])
    return (mixed + 0.5).astype(np.uint8)


def bend_face(crop: U8, max_px: float, rng: Rng) -> U8:
    """Move features smoothly by up to about ``max_px``, as if of another skull."""
    coarse = rng.uniform(-max_px, max_px, (5, 5, 2)).astype(np.float32)
    shift = cv2.resize(coarse, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:FACE_PX, :FACE_PX].astype(np.float32)
    bent = cv2.remap(
        crop, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(bent, np.uint8)


def misalign(crop: U8, strength: float, rng: Rng) -> U8:
    """Align it with slightly wrong landmarks; ``strength`` 1 is a poor detector."""
    turn, grow = rng.normal(0, 4 * strength), 1 + rng.normal(0, 0.04 * strength)
    matrix = np.asarray(
        cv2.getRotationMatrix2D((FACE_PX / 2, FACE_PX * 0.6), turn, grow), np.float64
    )
    matrix[:, 2] += rng.normal(0, 2 * strength, 2)
    return np.asarray(cv2.warpAffine(crop, matrix, (FACE_PX, FACE_PX)), np.uint8)


def occlude(crop: U8, rng: Rng) -> U8:
    """Occlude the face: a bar over the eyes, a cloth over the mouth, or a hand anywhere."""
    kind, color = rng.integers(3), tuple(int(c) for c in rng.integers(0, 255, 3))
    covered = crop.copy()
    if kind == 0:
        top, height = int(rng.integers(40, 48)), int(rng.integers(12, 22))
        cv2.rectangle(covered, (14, top), (98, top + height), color, -1)
    elif kind == 1:
        cv2.rectangle(covered, (10, int(rng.integers(68, 84))), (102, FACE_PX), color, -1)
    else:
        center = (int(rng.integers(0, FACE_PX)), int(rng.integers(0, FACE_PX)))
        axes = (int(rng.integers(10, 30)), int(rng.integers(10, 30)))
        cv2.ellipse(covered, center, axes, rng.uniform(0, 180), 0, 360, color, -1)
    return covered


_LIGHT = (Sometimes(0.6, ColorShift(gray=0.1)), Sometimes(0.06, Night()))
_CAMERA = (Sometimes(0.6, ColorShift(6, 0.2, 0.06, 0.12, 0.12)), Sometimes(0.5, CheapCamera(0.25)))


@dataclass(frozen=True, slots=True)
class FaceSynthesizer:
    """Makes a new face of one or two.

    Attributes:
        mixed: Probability of blending in the second face.
        bent: Probability of moving features.
        bend_px: Largest movement, pixels.
        covered: Probability of an occlusion.
    """

    mixed: float = 0.4
    bent: float = 0.5
    bend_px: float = 5.0
    covered: float = 0.12

    def __call__(self, crop: U8, other: U8, rng: Rng) -> U8:
        """``(112, 112, 3)`` twice -> a new face; ``other`` is used by chance."""
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < self.mixed:
            crop = blend_faces(crop, other, rng)
        if rng.random() < self.bent:
            crop = bend_face(np.ascontiguousarray(crop), rng.uniform(1, self.bend_px), rng)
        crop = misalign(np.ascontiguousarray(crop), 1.0, rng)
        if rng.random() < self.covered:
            crop = occlude(crop, rng)
        return _apply(crop, _LIGHT, rng)


def degrade(crop: U8, rng: Rng) -> U8:
    """The same person with a worse camera and slightly misaligned."""
    if rng.random() < 0.5:
        crop = misalign(crop, 0.4, rng)
    return _apply(crop, _CAMERA, rng)
