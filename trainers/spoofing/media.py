"""Media: pictures that are printed or shown on a screen.

A medium turns a picture into a `Surface` with its edges, to hold in front of a camera. Nothing was
measured on real printers or screens: ranges are wide guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge.types import F32, U8
from trainers.augment.augment import Rng

_COARSE = 64  # pixels of a map of reflections
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A flat surface that shows a picture.

    Attributes:
        rgba: ``(H, W, 4)`` uint8; transparent where the last channel is 0.
        offset_xy: Position of the upper left corner of the picture, pixels of the surface.
        scale: Pixels of the surface per pixel of the picture.
        glow: Whether it emits light, so that shade does not darken it.
    """

    rgba: U8
    offset_xy: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    glow: bool = False

    def place(self, xy: F32) -> F32:
        """Points ``(.., 2)`` of the picture as points of the surface."""
        return (xy * self.scale + np.array(self.offset_xy, np.float32)).astype(np.float32)


Medium = Callable[[U8, F32, Rng], Surface]  # picture, box of the face in it, generator


def _opaque(rgb: U8) -> U8:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def _toned(image: U8, gamma: float, black: float, white: float, saturation: float) -> F32:
    """Apply a tone curve between ``black`` and ``white`` (0..1) and reduce saturation."""
    tone = (black + (white - black) * np.linspace(0, 1, 256) ** gamma) * 255
    lifted = tone.astype(np.float32)[image]
    gray = lifted @ _LUMA
    toned = gray[..., None] + (lifted - gray[..., None]) * np.float32(saturation)
    return np.asarray(toned, np.float32)


def _grain(shape_hw: tuple[int, int], size_px: float, rng: Rng) -> F32:
    """Noise of a given coarseness, mean 0, standard deviation 1."""
    noise = rng.normal(0, 1, shape_hw).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), size_px)
    return (soft / max(float(soft.std()), 1e-6)).astype(np.float32)


def _framed(rgb: U8, border_px: Sequence[int], color: Sequence[int]) -> U8:
    top, bottom, left, right = border_px
    framed = cv2.copyMakeBorder(
        rgb, top, bottom, left, right, cv2.BORDER_CONSTANT, value=[int(c) for c in color]
    )
    return np.asarray(framed, np.uint8)


def _bytes(image: F32) -> U8:
    return np.clip(image, 0, 255).astype(np.uint8)


# --- paper ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Print:
    """A print: fewer colors, off-white paper with grain, perhaps a white margin.

    Attributes:
        blackest: Lightest black of the ink, 0..1.
        whitest: Darkest white of the paper, 0..1.
        colors: Least remaining fraction of saturation.
        grain: Strongest grain of the paper, gray levels.
        margin: Probability of a white margin.
    """

    blackest: float = 0.22
    whitest: float = 0.75
    colors: float = 0.5
    grain: float = 5.0
    margin: float = 0.6

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:  # noqa: ARG002
        """Print the picture."""
        toned = _toned(
            image, rng.uniform(0.75, 1.35), rng.uniform(0.04, self.blackest),
            rng.uniform(self.whitest, 0.98), rng.uniform(self.colors, 0.95),
        )  # fmt: skip
        tint = np.array([1, rng.uniform(0.94, 1.0), rng.uniform(0.84, 1.0)], np.float32)
        paper = _grain(image.shape[:2], rng.uniform(0.6, 2.0), rng) * rng.uniform(0.5, self.grain)
        rgb = _bytes(toned * tint + paper[..., None])
        if rng.random() > self.margin:
            return Surface(_opaque(rgb))
        side = int(rng.uniform(0.02, 0.14) * min(rgb.shape[:2])) + 1
        white = tuple(int(x) for x in rng.integers(215, 250) * tint)
        return Surface(_opaque(_framed(rgb, (side,) * 4, white)), (side, side))


@dataclass(frozen=True, slots=True)
class Halftone:
    """A newspaper print: a halftone of ink dots, almost without color.

    The dots are at most ``pitch_px`` pixels of the picture apart.
    """

    pitch_px: float = 3.5

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:
        """Print the picture."""
        paper = Print(blackest=0.3, whitest=0.7, colors=0.0, margin=0.3)(image, face, rng)
        pitch, turn = rng.uniform(1.8, self.pitch_px), rng.uniform(0.2, 1.2)
        height, width = paper.rgba.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        screen = np.cos(2 * np.pi / pitch * u) * np.cos(2 * np.pi / pitch * v)  # -1..1
        gray = paper.rgba[..., :3].astype(np.float32)
        inked = gray + screen[..., None] * rng.uniform(20, 55)
        return replace(paper, rgba=np.dstack([_bytes(inked), paper.rgba[..., 3]]))


@dataclass(frozen=True, slots=True)
class Gloss:
    """A glossy medium with at most ``spots`` reflections of lamps and windows."""

    medium: Medium
    spots: int = 3

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:
        """Make the surface and add reflections."""
        surface = self.medium(image, face, rng)
        height, width = surface.rgba.shape[:2]
        light: np.ndarray = np.zeros((_COARSE, _COARSE), np.float32)
        for _ in range(int(rng.integers(1, self.spots + 1))):
            at = (int(rng.integers(_COARSE)), int(rng.integers(_COARSE)))
            axes = tuple(int(x) for x in rng.uniform(0.02, 0.16, 2) * _COARSE + 1)
            cv2.ellipse(light, at, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.01, 0.08) * _COARSE + 0.5)
        light = cv2.resize(light, (width, height)) * np.float32(rng.uniform(80, 220))
        rgb = surface.rgba[..., :3] + light[..., None]
        return replace(surface, rgba=np.dstack([_bytes(rgb), surface.rgba[..., 3]]))


# --- screens ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen: its pixels in red, green and blue strips, another gamma, black that glows.

    The strips are two or three pixels wide; sampling the surface more coarsely, as a camera does,
    produces moire.

    Attributes:
        strips: Darkest gaps, 0..1; raising it strengthens the moire.
        bezel: Probability of a frame around it.
    """

    strips: float = 0.5
    bezel: float = 0.6

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:  # noqa: ARG002
        """Show the picture."""
        shown = _toned(
            image, rng.uniform(0.75, 1.5), rng.uniform(0.0, 0.14), rng.uniform(0.8, 1.12),
            rng.uniform(0.8, 1.3),
        )  # fmt: skip
        shown *= np.array([rng.uniform(0.82, 1.02), rng.uniform(0.92, 1.02), 1.06], np.float32)
        factor = int(rng.integers(2, 4))
        large = cv2.resize(_bytes(shown), None, fx=factor, fy=factor,
                           interpolation=cv2.INTER_NEAREST)  # fmt: skip
        much = rng.uniform(0.05, self.strips)
        large = _bytes(large * _strips(large.shape[:2], factor, much, rng))
        if rng.random() > self.bezel:
            return Surface(_opaque(large), (0, 0), factor, glow=True)
        thin = rng.uniform(0.01, 0.12, 4) * min(large.shape[:2])
        border = tuple(int(x) + 2 for x in thin)
        gray = int(rng.integers(0, 45) if rng.random() < 0.8 else rng.integers(150, 240))
        framed = _framed(large, border, (gray, gray, gray))
        return Surface(_opaque(framed), (border[2], border[0]), factor, glow=True)


def _strips(shape_hw: tuple[int, int], pitch: int, much: float, rng: Rng) -> F32:
    """``(H, W, 3)`` gain of a grid of colored strips whose mean is about 1."""
    height, width = shape_hw
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    phase = np.array([0, 1, 2], np.float32) / 3
    wave = np.cos(2 * np.pi * (x[:, None] / pitch - phase))  # (W, 3)
    color = 1 + much * wave * rng.uniform(0.4, 1)
    rows = 1 - much * 0.7 * (np.mod(y, pitch) < 1)
    return (color[None] * rows[:, None, None]).astype(np.float32)


# --- nothing but a cut ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bare:
    """The picture itself, reproduced without loss: only its flatness gives it away."""

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:  # noqa: ARG002
        """The picture as it is."""
        return Surface(_opaque(image))


@dataclass(frozen=True, slots=True)
class Cutout:
    """A face cut out of a medium along its outline, as a mask; the eyes may be holes by chance."""

    medium: Medium
    holes: float = 0.5

    def __call__(self, image: U8, face: F32, rng: Rng) -> Surface:
        """Cut out the face."""
        surface = self.medium(image, face, rng)
        x1, y1, x2, y2 = surface.place(face.reshape(2, 2)).ravel().tolist()
        wide, high = x2 - x1, y2 - y1
        mask = np.zeros(surface.rgba.shape[:2], np.uint8)
        center = (int((x1 + x2) / 2), int((y1 + y2) / 2))
        grown = rng.uniform(0.52, 0.75, 2)
        cv2.ellipse(mask, center, (int(wide * grown[0]), int(high * grown[1])), 0, 0, 360, 255, -1)
        if rng.random() < self.holes:
            for side in (-0.2, 0.2):
                at = (int(center[0] + side * wide), int(center[1] - 0.1 * high))
                cv2.ellipse(
                    mask, at, (int(wide * 0.09) + 1, int(high * 0.04) + 1), 0, 0, 360, 0, -1
                )
        return replace(surface, rgba=np.dstack([surface.rgba[..., :3], mask]))
