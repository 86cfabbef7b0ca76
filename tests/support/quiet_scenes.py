"""Quiet scenes: a photograph seen by a fixed camera, in which now and then somebody walks by.

    scene = QuietScene.draw(1, duration_s=60, walkers=3, sprites=cut_walkers())
    for at_s in np.arange(0, scene.duration_s, 0.2):
        picture = scene.render(at_s)

Photographs and walkers come from the photographs at hand. Light drifts, a lamp is switched, rain
falls, a clock runs in a corner, and the sensor is noisy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from edge.types import Frame, RgbPicture, YuvPicture

DATA = Path(__file__).parents[3] / "shared" / "data"
COCO = DATA / "coco_dev"
SIZE_WH = (1280, 720)
VEHICLES = (2, 5, 7)  # car, bus and truck in the labels
PACE_PER_S = (0.6, 0.95)  # way of somebody who walks, in body heights


@dataclass(frozen=True)
class Walker:
    """Somebody who crosses the picture.

    Attributes:
        begins_s: When the first foot is in the picture.
        crossing_s: Until the other side.
        height_px: In the picture.
        foot_y: Of the path, pixels.
        rightward: The direction.
        sprite: ``(h, w, 4)`` uint8 BGRA.
    """

    begins_s: float
    crossing_s: float
    height_px: int
    foot_y: int
    rightward: bool
    sprite: np.ndarray = field(repr=False)

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.crossing_s

    def locate(self, at_s: float) -> tuple[float, float, float, float] | None:
        """The box, xyxy pixels; None while not in the picture."""
        share = (at_s - self.begins_s) / self.crossing_s
        if not 0 <= share <= 1:
            return None
        shape = self.sprite.shape
        width = self.height_px * shape[1] / shape[0]
        way = share if self.rightward else 1 - share
        x1 = -width + way * (SIZE_WH[0] + width)
        return x1, self.foot_y - self.height_px, x1 + width, self.foot_y


@lru_cache
def cut_walkers() -> list[np.ndarray]:
    """People who stand whole in a photograph, cut out as ``(h, w, 4)`` BGRA by GrabCut."""
    people = []
    for label in sorted((COCO / "labels").glob("*.txt")):
        rows = np.array([line.split() for line in label.read_text().splitlines()], np.float64)
        image = cv2.imread(str(COCO / "images" / f"{label.stem}.jpg"))
        if not len(rows):
            continue
        height, width = image.shape[:2]
        for row in rows[rows[:, 0] == 0]:
            w, h = row[3] * width, row[4] * height
            x, y = row[1] * width - w / 2, row[2] * height - h / 2
            inside = x > 3 and y > 3 and x + w < width - 3 and y + h < height - 3
            if inside and h > 110 and 1.7 < h / w < 4.5:
                people.append(_cut(image, round(x), round(y), round(w), round(h)))
    return people


def _cut(image: np.ndarray, x: int, y: int, w: int, h: int) -> np.ndarray:
    """What GrabCut takes for the object in a box, as BGRA."""
    pad = w // 3
    top, left = max(y - pad, 0), max(x - pad, 0)
    part = np.ascontiguousarray(image[top : y + h + pad, left : x + w + pad])
    mask = np.zeros(part.shape[:2], np.uint8)
    rect = (x - left, y - top, w, h)
    cv2.setRNGSeed(1)
    cv2.grabCut(part, mask, rect, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
    alpha = np.where(mask & 1, 255, 0).astype(np.uint8)
    alpha = cv2.GaussianBlur(cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, np.ones((7, 7))), (3, 3), 0)
    whole = np.dstack([part, alpha])
    return whole[y - top : y - top + h, x - left : x - left + w].copy()


@lru_cache
def find_photographs() -> list[Path]:
    """Photographs without people in them."""
    found = []
    for label in sorted((COCO / "labels").glob("*.txt")):
        if not any(line.startswith("0 ") for line in label.read_text().splitlines()):
            found.append(COCO / "images" / f"{label.stem}.jpg")
    return [path for path in found if path.exists()]


@lru_cache(maxsize=4)
def _make_noise(seed: int, sigma: float) -> np.ndarray:
    """A few fields of sensor noise, int16."""
    rng = np.random.default_rng(seed)
    shape = (SIZE_WH[1] + 64, SIZE_WH[0] + 64)
    return np.round(rng.normal(0, sigma, shape)).astype(np.int16)


@dataclass
class QuietScene:
    """One scene, drawn from a seed."""

    still: np.ndarray  # (720, 1280, 3) BGR
    walkers: list[Walker]
    duration_s: float
    noise: float
    lamp_s: float
    rain_s: tuple[float, float]
    drift: float
    seed: int

    @classmethod
    def draw(
        cls, seed: int, duration_s: float, walkers: int, sprites: list[np.ndarray]
    ) -> QuietScene:
        rng = np.random.default_rng(seed)
        photos = find_photographs()
        still = _cover(cv2.imread(str(photos[rng.integers(len(photos))])))
        slot_s = (duration_s - 5) / max(walkers, 1)
        people = []
        for n in range(walkers):
            height = int(rng.uniform(150, 460))
            sprite = sprites[rng.integers(len(sprites))]
            way = (SIZE_WH[0] + height * sprite.shape[1] / sprite.shape[0]) / height
            crossing_s = way / rng.uniform(*PACE_PER_S)
            people.append(
                Walker(
                    begins_s=5 + n * slot_s + rng.uniform() * max(slot_s - crossing_s - 3, 0),
                    crossing_s=crossing_s,
                    height_px=height,
                    foot_y=int(rng.uniform(max(height + 10, 380), 715)),
                    rightward=bool(rng.integers(2)),
                    sprite=sprite,
                )
            )
        rain_begin = rng.uniform(0.2, 0.7) * duration_s
        return cls(
            still, people, duration_s, float(rng.uniform(1, 4)),
            float(rng.uniform(0.1, 0.9)) * duration_s,
            (rain_begin, rain_begin + 0.15 * duration_s),
            float(rng.uniform(0.02, 0.12)), seed,
        )  # fmt: skip

    def render(self, at_s: float) -> YuvPicture:
        """The picture at a moment, as planes of YUV 4:2:0."""
        bgr = self.still.copy()
        for walker in self.walkers:
            box = walker.locate(at_s)
            if box:
                lay(bgr, walker.sprite, box)
        cv2.rectangle(bgr, (20, 16), (330, 52), (0, 0, 0), -1)
        text = f"2026-11-30 12:{int(at_s) // 60:02d}:{int(at_s) % 60:02d}"
        cv2.putText(bgr, text, (26, 44), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
        rng = np.random.default_rng((self.seed, int(at_s * 1000)))
        if self.rain_s[0] <= at_s <= self.rain_s[1]:
            for x, y, length in rng.integers((0, 0, 12), (SIZE_WH[0], SIZE_WH[1], 40), (120, 3)):
                cv2.line(bgr, (x, y), (x + 3, y + length), (190, 190, 190), 1)
        yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
        height, width = SIZE_WH[1], SIZE_WH[0]
        gain = 1 + self.drift * np.sin(2 * np.pi * at_s / 300)
        if at_s >= self.lamp_s:
            gain *= 0.6
        y = yuv[:height].astype(np.int16)
        y = (y * np.int16(round(gain * 64))) >> 6
        shift = rng.integers(0, 64, 2)
        field_ = _make_noise(self.seed % 3, round(self.noise, 1))
        y += field_[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
        luma = np.clip(y, 0, 255).astype(np.uint8)
        quarter = yuv[height:].reshape(2, height // 2, width // 2)
        return YuvPicture(luma, quarter[0].copy(), quarter[1].copy(), False, True)


def cut_recognized(detector) -> list[np.ndarray]:
    """Of `cut_walkers`, those whom a detector takes for people at all."""
    recognized = []
    for sprite in cut_walkers():
        (found,) = detector.detect([Frame("a", 1, 1, 0.0, 0.0, _stand_before_gray(sprite))])
        if (found.score[found.class_id == 0] > 0.6).any():
            recognized.append(sprite)
    return recognized


def cut_vehicles(detector) -> list[np.ndarray]:
    """Cars, buses and trucks with what is around them, ``(h, w, 4)`` BGRA, if they are recognized.

    Whole photographs within their boxes: GrabCut takes their wheels and windows away.
    """
    found = []
    for label in sorted((COCO / "labels").glob("*.txt")):
        rows = np.array([line.split() for line in label.read_text().splitlines()], np.float64)
        image = cv2.imread(str(COCO / "images" / f"{label.stem}.jpg"))
        height, width = image.shape[:2]
        for row in rows[np.isin(rows[:, 0], VEHICLES)] if len(rows) else ():
            w, h = round(row[3] * width), round(row[4] * height)
            x, y = max(round(row[1] * width - w / 2), 0), max(round(row[2] * height - h / 2), 0)
            part = image[y : y + h, x : x + w]
            if w < 60 or not 0.3 < h / w < 1.2:
                continue
            whole = np.dstack([part, np.full(part.shape[:2], 255, np.uint8)])
            if _is_vehicle(whole, detector):
                found.append(whole)
    return found


def _is_vehicle(sprite: np.ndarray, detector) -> bool:
    shown = _stand_before_gray(sprite, round(400 * sprite.shape[0] / sprite.shape[1]))
    (found,) = detector.detect([Frame("a", 1, 1, 0.0, 0.0, shown)])
    kinds = [detector.classes[number] for number in found.class_id]
    return bool((found.score[np.isin(kinds, ("car", "bus", "truck"))] > 0.6).any())


def take_street(seed: int) -> np.ndarray:
    """A photograph without people or vehicles, ``(720, 1280, 3)`` BGR."""
    photos = [
        path for path in find_photographs()
        if not (COCO / "labels" / f"{path.stem}.txt").read_text().strip()
    ]  # fmt: skip
    return _cover(cv2.imread(str(photos[seed % len(photos)])))


def _stand_before_gray(sprite: np.ndarray, height_px: int = 300) -> RgbPicture:
    """Somebody alone, in the middle of a gray picture."""
    bgr = np.full((SIZE_WH[1], SIZE_WH[0], 3), 120, np.uint8)
    width = height_px * sprite.shape[1] / sprite.shape[0]
    lay(bgr, sprite, (500, 660 - height_px, 500 + width, 660))
    return RgbPicture(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _cover(image: np.ndarray) -> np.ndarray:
    """An image cut and resized to the size of the scene."""
    scale = max(SIZE_WH[0] / image.shape[1], SIZE_WH[1] / image.shape[0])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large[: SIZE_WH[1], : SIZE_WH[0]])


def lay(bgr: np.ndarray, sprite: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """Lay a sprite into the picture."""
    x1, y1, x2, y2 = (round(value) for value in box)
    sprite = cv2.resize(sprite, (max(x2 - x1, 1), max(y2 - y1, 1)), interpolation=cv2.INTER_AREA)
    left, top = max(x1, 0), max(y1, 0)
    right, bottom = min(x2, bgr.shape[1]), min(y2, bgr.shape[0])
    if left >= right or top >= bottom:
        return
    part = sprite[top - y1 : bottom - y1, left - x1 : right - x1]
    alpha = part[..., 3:].astype(np.float32) / 255
    ground = bgr[top:bottom, left:right]
    ground[:] = (part[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
