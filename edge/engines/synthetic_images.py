"""Synthetic images, which a model is checked with before any camera delivers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, U8
from edge.vision.face_crops import FACE_POINTS

F64 = NDArray[np.float64]

# A face in units of its half height, painted in this order: center xy, radii xy, color RGB.
_FACE = (
    ((0.0, 0.0), (0.75, 1.0), (60, 40, 30)),  # hair
    ((0.0, 0.1), (0.65, 0.85), (224, 180, 150)),
    ((-0.28, -0.05), (0.15, 0.08), (245, 245, 245)),
    ((0.28, -0.05), (0.15, 0.08), (245, 245, 245)),
    ((-0.28, -0.05), (0.07, 0.07), (40, 25, 20)),
    ((0.28, -0.05), (0.07, 0.07), (40, 25, 20)),
    ((-0.28, -0.22), (0.18, 0.05), (70, 45, 35)),
    ((0.28, -0.22), (0.18, 0.05), (70, 45, 35)),
    ((0.0, 0.25), (0.09, 0.12), (200, 150, 125)),
    ((0.0, 0.55), (0.25, 0.08), (170, 70, 70)),
)


def draw_synthetic_images(shape: tuple[int, ...], count: int = 4, seed: int = 1) -> U8:
    """Faces of several sizes before noise of every scale: ``(count, *shape)``.

    Face finders find them. Object detectors see little in any drawing, so they are compared on the
    first real frames as well. A row has shape ``(h, w, 3)``, or ``(T, h, w, 3)`` for clips.
    """
    rng = np.random.default_rng(seed)
    height, width = shape[-3:-1]
    pictures = np.empty((count, *shape), np.float32)
    for picture in pictures.reshape(-1, height, width, 3):
        picture[:] = np.linspace(60, 180, width, dtype=np.float32)[:, None]
        for cell in (64, 32, 16, 8):
            coarse = rng.normal(0, 12, (height // cell + 1, width // cell + 1, 3))
            picture += coarse.repeat(cell, 0).repeat(cell, 1)[:height, :width]
        for column, share in enumerate((0.1, 0.16, 0.24)):
            center_xy = (width * (column + 0.5) / 3, height * rng.uniform(0.3, 0.7))
            _paint_face(picture, center_xy, share * min(height, width))
    return pictures.clip(0, 255).astype(np.uint8)


def _paint_face(picture: F32, center_xy: tuple[float, float], half_px: float) -> None:
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    x, y = (x - center_xy[0]) / half_px, (y - center_xy[1]) / half_px
    for center, radii, color in _FACE:
        inside = ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 < 1
        picture[inside] = color


def draw_portraits(count: int, seed: int = 2) -> U8:
    """Faces of different people, aligned as embedders take them: ``(count, 112, 112, 3)``.

    They differ in width, eyes, brows, mouth, hair, skin, light and background.
    """
    rng = np.random.default_rng(seed)
    faces = np.empty((count, 112, 112, 3), np.float32)
    for face in faces:
        across = np.linspace(-1, 1, 112, dtype=np.float32)[None, :, None]
        face[:] = rng.uniform(30, 220, 3) + across * rng.uniform(-35, 35, 3)
        skin = np.array([224, 180, 150]) * rng.uniform(0.35, 1.1) * rng.uniform(0.9, 1.1, 3)
        hair = rng.uniform(10, 120, 3) * (1, 0.8, 0.6)
        width, height = rng.uniform(36, 52), rng.uniform(50, 66)
        _paint(face, (56, 56 - rng.uniform(0, 10)), (width + rng.uniform(2, 12), height + 5), hair)
        _paint(face, (56, 66), (width, height), skin)
        eye, iris = (rng.uniform(6, 11), rng.uniform(3, 6)), rng.uniform(10, 90, 3)
        raised, brow = rng.uniform(8, 13), rng.uniform(1.5, 4)
        for x, y in FACE_POINTS[:2].tolist():
            _paint(face, (x, y), eye, rng.uniform(225, 250, 3))
            _paint(face, (x, y), (eye[1] * 0.8,) * 2, iris)
            _paint(face, (x, y - raised), (eye[0] * 1.2, brow), hair)
        _paint(face, (56, 69), (rng.uniform(3, 8), rng.uniform(6, 12)), skin * 0.85)
        _paint(face, (56, 92), (rng.uniform(10, 18), rng.uniform(3, 7)), skin * (0.9, 0.5, 0.5))
        if rng.random() < 0.4:  # a beard
            _paint(face, (56, 108), (rng.uniform(20, 40), rng.uniform(8, 16)), hair)
        face *= 1 + across * rng.uniform(-0.4, 0.4)
        face += rng.normal(0, 4, face.shape)
    return faces.clip(0, 255).astype(np.uint8)


def _paint(
    picture: F32, center_xy: tuple[float, float], radii_xy: tuple[float, float], color: F64
) -> None:
    """Fill an ellipse, in pixels."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    inside = ((x - center_xy[0]) / radii_xy[0]) ** 2 + ((y - center_xy[1]) / radii_xy[1]) ** 2 < 1
    picture[inside] = color
