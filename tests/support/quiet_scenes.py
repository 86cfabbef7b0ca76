"""Quiet scenes: a photograph seen by a fixed camera, in which now and then somebody walks by.

    scene = QuietScene.draw(seed=1, duration_s=60, walkers=6)
    for at_s in np.arange(0, scene.duration_s, 0.2):
        picture = scene.render(at_s)

Photographs and walkers come from the real pictures and films at hand; walkers are cut out of a film
of a fixed camera by their difference to its background. Light drifts, a lamp is switched, rain
falls, a clock runs in a corner, and the sensor is noisy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from edge.types import YuvPicture

DATA = Path(__file__).parents[3] / "shared" / "data"
FILM = DATA / "videos" / "one-by-one-person-detection.mp4"
FILM_FPS = 10
SIZE_WH = (1280, 720)
CYCLE = 8  # pictures of a walker


@dataclass(frozen=True)
class Walker:
    """Somebody who crosses the picture.

    Attributes:
        begins_s: When the first foot is in the picture.
        crossing_s: Until the other side.
        height_px: In the picture.
        foot_y: Of the path, pixels.
        rightward: The direction.
        sprites: ``(h, w, 4)`` uint8 BGRA pictures of the walk.
    """

    begins_s: float
    crossing_s: float
    height_px: int
    foot_y: int
    rightward: bool
    sprites: list[np.ndarray] = field(repr=False)

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.crossing_s

    def locate(self, at_s: float) -> tuple[float, float, float, float] | None:
        """The box, xyxy pixels; None while not in the picture."""
        share = (at_s - self.begins_s) / self.crossing_s
        if not 0 <= share <= 1:
            return None
        shape = self.sprites[0].shape
        width = self.height_px * shape[1] / shape[0]
        way = share if self.rightward else 1 - share
        x1 = -width + way * (SIZE_WH[0] + width)
        return x1, self.foot_y - self.height_px, x1 + width, self.foot_y


@lru_cache
def cut_walkers() -> list[list[np.ndarray]]:
    """Walks of several people: `CYCLE` BGRA pictures each, those of one in one size."""
    with av.open(str(FILM)) as container:
        some = [
            frame.to_ndarray(format="bgr24")
            for row, frame in enumerate(container.decode(video=0)) if row % 40 == 0
        ]  # fmt: skip
    background = np.median(some, axis=0).astype(np.uint8)
    walks: list[list[np.ndarray]] = []
    run: list[tuple[np.ndarray, tuple[int, int, int, int]]] = []
    with av.open(str(FILM)) as container:
        for row, frame in enumerate(container.decode(video=0)):
            if row // 30 % 3:
                continue  # of people who stand there for long, a part
            found = _cut_person(frame.to_ndarray(format="bgr24"), background)
            run = [*run, found] if found else []
            if len(run) == CYCLE:
                walks.append(_align(run))
                run = []
    return walks


def _cut_person(
    frame: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, tuple[int, int, int, int]] | None:
    """The only person in a picture as BGRA, and the box as x, y, w, h; None if there is not one."""
    change = cv2.absdiff(frame, background).max(axis=2)
    mask = cv2.morphologyEx((change > 24).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((11, 11)))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [contour for contour in contours if cv2.contourArea(contour) > 3000]
    if len(large) != 1:
        return None
    x, y, w, h = (int(value) for value in cv2.boundingRect(large[0]))
    inside = x > 4 and y > 4 and x + w < frame.shape[1] - 4 and y + h < frame.shape[0] - 4
    if not inside or not 1.6 < h / w < 4:
        return None
    alpha = np.zeros(frame.shape[:2], np.uint8)
    cv2.drawContours(alpha, large, -1, 255, cv2.FILLED)
    alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3))), (5, 5), 0)
    return np.dstack([frame, alpha])[y : y + h, x : x + w].copy(), (x, y, w, h)


def _align(run: list[tuple[np.ndarray, tuple[int, int, int, int]]]) -> list[np.ndarray]:
    """Pictures of one size, the feet in one place."""
    height, width = max(box[3] for _, box in run), max(box[2] for _, box in run)
    sprites = []
    for bgra, (_, _, w, h) in run:
        sprite = np.zeros((height, width, 4), np.uint8)
        left = (width - w) // 2
        sprite[height - h :, left : left + w] = bgra
        sprites.append(sprite)
    return sprites


@lru_cache
def find_photographs() -> list[Path]:
    """Photographs without people in them."""
    found = []
    for label in sorted((DATA / "coco_dev" / "labels").glob("*.txt")):
        if not any(line.startswith("0 ") for line in label.read_text().splitlines()):
            found.append(DATA / "coco_dev" / "images" / f"{label.stem}.jpg")
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
        cls, seed: int, duration_s: float, walkers: int, crossing_s: tuple[float, float] = (2.5, 6)
    ) -> QuietScene:
        rng = np.random.default_rng(seed)
        photos, walks = find_photographs(), cut_walkers()
        image = cv2.imread(str(photos[rng.integers(len(photos))]))
        still = _cover(image)
        slot_s = (duration_s - 5) / max(walkers, 1)
        people = []
        for n in range(walkers):
            crossing = rng.uniform(*crossing_s)
            height = int(rng.uniform(110, 420))
            free = max(slot_s - crossing - 3, 0)
            people.append(
                Walker(
                    begins_s=5 + n * slot_s + rng.uniform(0, 1) * free,
                    crossing_s=crossing,
                    height_px=height,
                    foot_y=int(rng.uniform(max(height + 10, 380), 715)),
                    rightward=bool(rng.integers(2)),
                    sprites=walks[rng.integers(len(walks))],
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
                sprite = walker.sprites[int(at_s * FILM_FPS) % CYCLE]
                _paste(bgr, sprite, box)
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


def _cover(image: np.ndarray) -> np.ndarray:
    """An image cut and resized to the size of the scene."""
    scale = max(SIZE_WH[0] / image.shape[1], SIZE_WH[1] / image.shape[0])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large[: SIZE_WH[1], : SIZE_WH[0]])


def _paste(bgr: np.ndarray, sprite: np.ndarray, box: tuple[float, float, float, float]) -> None:
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
