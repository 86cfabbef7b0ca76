"""Augmentations of color and quality, which move no pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import F32, U8
from edge.vision.resize import resize
from trainers.augment.augment import Rng, with_image
from trainers.data.dataset import Sample

_LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def _color_matrix(hue_degrees: float, saturation: float) -> np.ndarray:
    """``(3, 3)`` rotation of hue and scaling of saturation, in YIQ."""
    turn = np.deg2rad(hue_degrees)
    cos, sin = saturation * np.cos(turn), saturation * np.sin(turn)
    chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    matrix: np.ndarray = np.linalg.inv(_RGB_TO_YIQ) @ chroma @ _RGB_TO_YIQ
    return matrix


def _curve(gamma: float, gain: float, lift: float) -> U8:
    """``(256,)`` tone curve; ``lift`` in 0..1 of the range."""
    tone = np.linspace(0, 1, 256) ** gamma * gain + lift
    return (np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class ColorShift:
    """Hue, saturation, brightness, contrast and gamma; occasionally grayscale.

    Attributes:
        hue_degrees: Largest rotation either way.
        saturation: Largest relative change.
        brightness: Largest change, fraction of the range.
        contrast: Largest relative change.
        gamma: Largest relative change.
        gray: Probability of grayscale, as of infrared cameras at night.
    """

    hue_degrees: float = 12.0
    saturation: float = 0.4
    brightness: float = 0.12
    contrast: float = 0.25
    gamma: float = 0.3
    gray: float = 0.05

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Shift the colors."""
        hue = rng.uniform(-self.hue_degrees, self.hue_degrees)
        saturation = 0.0 if rng.random() < self.gray else 1 + rng.uniform(-1, 1) * self.saturation
        gain = 1 + rng.uniform(-1, 1) * self.contrast
        lift = 0.5 * (1 - gain) + rng.uniform(-1, 1) * self.brightness
        gamma = (1 + self.gamma) ** rng.uniform(-1, 1)
        image = cv2.transform(sample.image, _color_matrix(hue, saturation))
        return with_image(sample, cv2.LUT(image, _curve(gamma, gain, lift)))


@dataclass(frozen=True, slots=True)
class PcaColor:
    """Shift along the picture's own principal colors (Krizhevsky et al., 2012, section 4.1).

    The shift has ``strength`` standard deviations.
    """

    strength: float = 0.15

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Shift the colors."""
        pixels = sample.image[::8, ::8].reshape(-1, 3).astype(np.float64)
        variance, axes = np.linalg.eigh(np.cov(pixels.T) if len(pixels) > 1 else np.zeros((3, 3)))
        deviation = np.sqrt(np.maximum(variance, 0))
        shift = axes @ (rng.normal(0, self.strength, 3) * deviation)
        return with_image(sample, cv2.add(sample.image, np.array([*shift, 0.0])))


def add_noise(image: np.ndarray, deviation: float, rng: Rng) -> U8:
    """Add triangular noise per pixel and channel, cheaper than normal noise."""
    shape = image.shape
    a, b = np.frombuffer(rng.bytes(2 * image.size), np.uint8).reshape(2, *shape)
    noise = cv2.addWeighted(a, 0.5, b, 0.5, 0)  # deviation 52
    k = deviation / 52.0
    return np.asarray(cv2.addWeighted(image, 1.0, noise, k, -127.5 * k), np.uint8)


def make_motion_kernel(length_px: int, degrees: float) -> F32:
    """A straight line of that length, sum 1; one of even length moves the picture half a pixel."""
    kernel: np.ndarray = np.zeros((length_px, length_px), np.float32)
    kernel[length_px // 2] = 1
    middle = (length_px / 2 - 0.5, length_px / 2 - 0.5)
    kernel = cv2.warpAffine(
        kernel, cv2.getRotationMatrix2D(middle, degrees, 1.0), (length_px, length_px)
    )
    return np.asarray(kernel / kernel.sum(), np.float32)


def _motion_blur(image: np.ndarray, length_px: int, degrees: float) -> U8:
    return np.asarray(cv2.filter2D(image, -1, make_motion_kernel(length_px, degrees)), np.uint8)


def jpeg(image: np.ndarray, quality: int) -> U8:
    """Compress as JPEG of a quality in 1..100 and decode."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def sharpen(image: np.ndarray, sigma: float, much: float) -> U8:
    """Make edges steeper by an unsharp mask, as cameras do: ``much`` times what a blur removes."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(image, 1 + much, blurred, -much, 0), np.uint8)


@dataclass(frozen=True, slots=True)
class CheapCamera:
    """Low resolution, a soft lens, motion blur, noise, strong JPEG: each by chance.

    Attributes:
        chance: Probability of each; raising it degrades more pictures.
        coarsest: Lowest remaining resolution, as a fraction.
        noise: Largest standard deviation, gray levels.
        worst_quality: Lowest JPEG quality.
    """

    chance: float = 0.3
    coarsest: float = 0.4
    noise: float = 16.0
    worst_quality: int = 15

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Degrade the picture."""
        soft, moved, noisy, coarse, packed = rng.random(5) < self.chance
        image = sample.image
        w, h = sample.size_wh
        if coarse:
            share = rng.uniform(self.coarsest, 1)
            image = resize(image, (max(1, round(w * share)), max(1, round(h * share))))
        if soft and not coarse:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)), np.uint8)
        if moved:
            image = _motion_blur(image, int(rng.integers(3, 8)), rng.uniform(0, 180))
        if noisy:
            image = add_noise(image, rng.uniform(3, self.noise), rng)
        if packed:
            image = jpeg(image, int(rng.integers(self.worst_quality, 60)))
        if coarse:
            image = resize(image, (w, h))
        return with_image(sample, image)


def _lamps(size_wh: tuple[int, int], count: int, rng: Rng) -> np.ndarray:
    """``(H, W)`` float32 light of ``count`` lamps with halos, in 0..1."""
    w, h = size_wh
    cw, ch = max(2, w // 8), max(2, h // 8)
    y, x = np.mgrid[:ch, :cw].astype(np.float32)
    light = np.zeros((ch, cw), np.float32)
    for _ in range(count):
        cx, cy, r = rng.uniform(0, cw), rng.uniform(0, ch), rng.uniform(0.1, 0.5) * max(cw, ch)
        light += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r * r))
    return cv2.resize(np.minimum(light, 1), size_wh, interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True, slots=True)
class Night:
    """Day to night: dark, bluish or grayscale, noisy, lit by a few lamps.

    Attributes:
        darkest: Least brightness away from the lamps.
        infrared: Probability of an infrared camera: grayscale with a bright spot.
        noise: Largest standard deviation, gray levels.
    """

    darkest: float = 0.2
    infrared: float = 0.4
    noise: float = 14.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Turn day to night."""
        infrared = rng.random() < self.infrared
        ambient = rng.uniform(self.darkest, 0.45)
        light = _lamps(sample.size_wh, 1 if infrared else int(rng.integers(0, 4)), rng)
        level = ambient + (1 - ambient) * 0.7 * light  # (H, W)
        tint = np.ones(3) if infrared else np.array([0.8, 0.9, 1.1])
        matrix = _color_matrix(0, 0.0 if infrared else rng.uniform(0.3, 0.7)) * tint[:, None]
        image = cv2.LUT(cv2.transform(sample.image, matrix), _curve(1.3, 1.0, 0.0))
        image = cv2.multiply(image, cv2.merge([level] * 3), dtype=cv2.CV_8U)
        noisy = add_noise(image, rng.uniform(2, self.noise), rng)
        return with_image(sample, noisy)
