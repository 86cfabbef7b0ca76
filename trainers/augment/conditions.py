"""Night and weather at a chosen strength, as a camera would give them.

Light adds up in linear values, so pictures are decoded from sRGB, changed and encoded again. What
has a length (streaks, blur) is a fraction of the picture, so that pictures of all sizes meet the
same; noise is per pixel, as of the camera that took the picture. Nothing moves: labels stay.

What a single picture cannot tell is left out: depth (rain and veil are the same near and far),
what leaves and clothes reflect in infrared, headlights, the camera's own noise reduction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from edge.errors import ConfigError
from edge.types import F32, U8
from trainers.augment.augment import Rng, with_image
from trainers.augment.color import jpeg, make_motion_kernel
from trainers.data.dataset import Sample

Change = Callable[[Sample], Sample]
STRENGTHS = (0.25, 0.5, 1.0)
_WHITE_ELECTRONS = 4000.0  # of a white pixel by day: a small pixel, well exposed
_READ_ELECTRONS = 3.0  # standard deviation of a dark pixel
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear light, ITU-R BT.709
_INFRARED = np.array([0.45, 0.35, 0.2], np.float32)  # a sensor without its filter leans to red
_TO_LIGHT = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.linspace(0, 1, 256)],
    np.float32,
)  # IEC 61966-2-1


def unchanged(sample: Sample) -> Sample:
    """The sample as it is."""
    return sample


def to_light(image: U8) -> F32:
    """``(H, W, 3)`` sRGB -> linear light, 0..1."""
    return np.asarray(cv2.LUT(image, _TO_LIGHT), np.float32)


def from_light(light: F32) -> U8:
    """Linear light, clipped to 0..1 -> sRGB."""
    inside = np.clip(light, 0, 1)
    coded = np.where(inside <= 0.0031308, 12.92 * inside, 1.055 * inside ** (1 / 2.4) - 0.055)
    return np.asarray(coded * 255 + 0.5, np.uint8)


def add_sensor_noise(light: F32, white_electrons: float, rng: Rng) -> F32:
    """Shot and read noise where white has this many electrons, both normal."""
    electrons = light * np.float32(white_electrons)
    noise = rng.standard_normal(light.shape, np.float32)
    noise *= np.sqrt(electrons + np.float32(_READ_ELECTRONS**2))
    return np.asarray((electrons + noise) / np.float32(white_electrons), np.float32)


def night(image: U8, strength: float, rng: Rng) -> U8:
    """Seven stops less light at most, of which the camera's gain wins half back, with its noise."""
    noisy = add_sensor_noise(to_light(image), _WHITE_ELECTRONS * 2 ** (-7 * strength), rng)
    gray = (noisy @ _LUMA)[..., None]
    pale = noisy + (gray - noisy) * np.float32(0.6 * strength)  # as cameras hide color noise
    return from_light(pale * np.float32(2 ** (-3.5 * strength)))


def infrared(image: U8, strength: float, rng: Rng) -> U8:
    """Gray, of little contrast, lit by the camera's own lamp: blown out in the middle, dark rim."""
    gray = to_light(image) @ _INFRARED
    flat = gray + (np.float32(0.35) - gray) * np.float32(0.5 * strength)
    h, w = flat.shape
    x, y = rng.uniform(0.4, 0.6, 2) * (w, h)
    reach = (0.9 - 0.5 * strength) * max(w, h) / 2
    across = np.exp(-((np.arange(w, dtype=np.float32) + 0.5 - x) ** 2) / (2 * reach**2))
    down = np.exp(-((np.arange(h, dtype=np.float32) + 0.5 - y) ** 2) / (2 * reach**2))
    lamp = (down[:, None] * across).astype(np.float32)
    lit = flat * (1 - strength + strength * (0.03 + 1.8 * lamp))
    noisy = add_sensor_noise(lit, _WHITE_ELECTRONS * 2 ** (-5 * strength), rng)
    return np.repeat(from_light(noisy)[..., None], 3, axis=2)


def blur(image: U8, strength: float, rng: Rng) -> U8:
    """Motion over a twenty-fifth of the longer side at most, or a lens as far out of focus."""
    length_px = strength * max(image.shape[:2]) / 25
    moved, degrees = rng.random() < 0.5, rng.uniform(0, 180)
    kernel = _make_line(length_px, degrees) if moved else _make_disc(length_px / 4)
    return from_light(_filter(to_light(image), kernel))


def compress(image: U8, strength: float, rng: Rng) -> U8:  # noqa: ARG001 - one signature for all
    """JPEG of quality 60 down to 4."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    coded = jpeg(np.asarray(bgr, np.uint8), max(1, round(60 * 16**-strength)))
    return np.asarray(cv2.cvtColor(coded, cv2.COLOR_BGR2RGB), np.uint8)


def rain(image: U8, strength: float, rng: Rng) -> U8:
    """Bright streaks that fall at one angle, and a gray veil that halves the contrast at most."""
    light = to_light(image)
    h, w = light.shape[:2]
    veiled = light + (np.float32(0.5) - light) * np.float32(0.5 * strength)
    shrink = min(1.0, 640 / max(w, h))  # a streak is as wide as a pixel of this
    small_wh = (max(1, round(w * shrink)), max(1, round(h * shrink)))
    drops = (rng.random((small_wh[1], small_wh[0]), np.float32) < 0.007 * strength).astype(
        np.float32
    )
    length_px = max(small_wh) / 25
    fallen = cv2.filter2D(drops, -1, _make_line(length_px, 90 + rng.uniform(-20, 20)))
    streaks = cv2.resize(fallen * np.float32(0.5 * length_px), (w, h))
    cover = np.minimum(streaks, 0.7)[..., None].astype(np.float32)
    return from_light(veiled + (np.float32(0.8) - veiled) * cover)


def _make_line(length_px: float, degrees: float) -> F32:
    """Of odd length, so that labels stay right."""
    return make_motion_kernel(2 * int(length_px / 2) + 1, degrees)


def _make_disc(radius_px: float) -> F32:
    """A disc with a soft rim, sum 1; below half a pixel a point."""
    reach = int(np.ceil(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(disc / disc.sum(), np.float32)


def _filter(light: F32, kernel: F32) -> F32:
    return np.asarray(cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


CONDITIONS: MappingProxyType[str, Callable[[U8, float, Rng], U8]] = MappingProxyType(
    {"night": night, "infrared": infrared, "blur": blur, "jpeg": compress, "rain": rain}
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of one strength: the same picture always meets the same.

    Attributes:
        name: One of `CONDITIONS`.
        strength: In (0, 1].
        seed: Of noise, directions and places, beside the name of the picture.
    """

    name: str
    strength: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in CONDITIONS:
            known = ", ".join(CONDITIONS)
            raise ConfigError(f"there is no condition {self.name!r}: use some of {known}")
        if not 0 < self.strength <= 1:
            raise ConfigError(f"the strength of a condition is in (0, 1], got {self.strength:g}")

    def __call__(self, sample: Sample) -> Sample:
        """The sample under the condition."""
        text = f"{self.seed}:{self.name}:{sample.name}"  # equal at all strengths
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        change = CONDITIONS[self.name]
        return with_image(sample, change(sample.image, self.strength, np.random.default_rng(seed)))


def list_conditions(
    names: Sequence[str], strengths: Sequence[float] = STRENGTHS, seed: int = 0
) -> list[Condition]:
    """Each condition at each strength.

    Raises:
        ConfigError: There is no such condition, a strength is out of range, or there is none.
    """
    if not names or not strengths:
        raise ConfigError(f"name conditions, some of {', '.join(CONDITIONS)}, and their strengths")
    return [
        Condition(name, strength, seed)
        for name in dict.fromkeys(names)
        for strength in sorted(set(strengths))
    ]


@dataclass(frozen=True, slots=True)
class Under:
    """An augmentation: a condition of a strength drawn at random.

    Attributes:
        name: One of `CONDITIONS`.
        weakest: Least strength.
        strongest: Largest strength.
    """

    name: str
    weakest: float = 0.1
    strongest: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weakest <= self.strongest <= 1:
            raise ConfigError(
                f"weakest and strongest of {self.name} must be rising in [0, 1], got "
                f"{self.weakest:g} and {self.strongest:g}"
            )

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample under the condition."""
        strength = rng.uniform(self.weakest, self.strongest)
        return with_image(sample, CONDITIONS[self.name](sample.image, strength, rng))
