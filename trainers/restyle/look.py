"""A look: how a camera renders what is there. It changes light, color and noise and moves nothing.

    y = (matrix @ x ** exp(gamma) + offset) * exp(light)        x, y in 0..1, light a coarse grid
    y + gray noise * (e^n0 + e^n1 * sqrt(y)) + color noise * (e^n2 + e^n3 * sqrt(y))

Restyling fits these 53 numbers, not pixels (Gatys et al. 2016): edges stay where they are,
so boxes stay valid, and what is fitted to a small picture holds for the whole one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.types import F32, U8
from edge.vision.resize import resize

GRID = 6  # nodes of the light along each side
DARK = 1e-3  # below which powers and roots have no useful slope
_FIRST_NOISE = 0.01
_RIDGE = 1e-4  # of a covariance, variance of a level or so


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The numbers of a look.

    Attributes:
        matrix: ``(3, 3)`` float32, RGB -> RGB.
        offset: ``(3,)``.
        gamma: ``(1,)`` logarithm of the exponent.
        light: ``(GRID, GRID)`` logarithm of the light, from the top left node.
        noise: ``(4,)`` logarithms: gray noise and its part that grows with the light, then color's.
    """

    matrix: F32
    offset: F32
    gamma: F32
    light: F32
    noise: F32

    def __call__(self, image: U8, noise: F32) -> U8:
        """The picture in this look; ``noise`` is that of `draw_noise`, of the same size."""
        h, w = image.shape[:2]
        x = np.maximum(image.astype(np.float32) / 255, DARK)
        rows, columns = interpolate(h), interpolate(w)
        light = np.exp(rows @ self.light @ columns.T)[..., None]
        y = (x ** np.exp(self.gamma) @ self.matrix.T + self.offset) * light
        root = np.sqrt(np.maximum(y.mean(-1, keepdims=True), DARK))
        gray, color = (np.exp(self.noise[n]) + np.exp(self.noise[n + 1]) * root for n in (0, 2))
        y = y + gray * noise[..., :1] + color * noise[..., 1:]
        return np.asarray(np.clip(y, 0, 1) * 255 + 0.5, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Colors:
    """Mean ``(3,)`` and covariance ``(3, 3)`` of a picture's colors, 0..1."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def measure_colors(image: U8) -> Colors:
    """The colors of a ``(H, W, 3)`` picture."""
    pixels = image.reshape(-1, 3) / 255.0
    ridge = _RIDGE * np.eye(3)
    return Colors(pixels.mean(0), np.cov(pixels.T, bias=True) + ridge)


def begin_look(content: Colors, style: Colors) -> Look:
    """The look that gives a picture the mean and covariance of another's colors.

    Of all linear maps that do so it is the one that changes colors least (Pitie & Kokaram 2007).
    """
    root = _root(content.covariance)
    inverse = np.linalg.inv(root)
    matrix = inverse @ _root(root @ style.covariance @ root) @ inverse
    return Look(
        matrix.astype(np.float32),
        (style.mean - matrix @ content.mean).astype(np.float32),
        np.zeros(1, np.float32),
        np.zeros((GRID, GRID), np.float32),
        np.full(4, np.log(_FIRST_NOISE), np.float32),
    )


def _root(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    values, axes = np.linalg.eigh(symmetric)
    return np.asarray((axes * np.sqrt(np.maximum(values, 0))) @ axes.T)


def interpolate(side_px: int) -> F32:
    """``(side_px, GRID)``: weights of the nodes at each pixel's center, linear."""
    at = np.clip((np.arange(side_px) + 0.5) / side_px * GRID - 0.5, 0, GRID - 1)
    nodes = np.arange(GRID)
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - nodes), 0), np.float32)


def draw_noise(name: str, size_wh: tuple[int, int], seed: int = 0) -> F32:
    """``(H, W, 4)`` normal noise, gray and for each color, the same for the same name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return rng.standard_normal((size_wh[1], size_wh[0], 4), np.float32)


def shrink(image: U8, side_px: int) -> F32:
    """A square of a picture, resized as pictures for networks are."""
    return np.asarray(resize(image, (side_px, side_px)), np.float32)


def shrink_noise(noise: F32, side_px: int) -> F32:
    """A square of a picture's noise, averaged as the pixels are."""
    return np.asarray(cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_AREA))
