"""A synthetic camera: it pans and zooms over a real photograph, with sensor noise."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from edge.config import Table
from edge.errors import SourceError
from edge.extra import advise_extra
from edge.types import U8, Capture, RgbPicture
from edge.vision.image_file import read_picture

_MARGIN = 1.25  # how much larger the scene is than the view
_NOISE_SHIFT_PX = 64  # the noise is one tile, shifted by at most this much per frame
_PERIODS_S = (7.0, 11.0, 17.0)  # of panning across, panning down, zooming


Width = Annotated[int, Field(ge=16, le=7680)]
Height = Annotated[int, Field(ge=16, le=4320)]


class Options(Table):
    """A synthetic camera that pans and zooms over a photograph.

    Attributes:
        photo: Image file; none uses the photograph that matplotlib ships.
        size_wh: Width and height of the picture in pixels, 16x16 to 7680x4320.
        fps: Pictures per second.
        noise: Standard deviation of the sensor noise, in gray levels; 0 turns it off.
        seed: Seed of noise and motion; the same seed gives the same pictures.
    """

    photo: Path | None = None
    size_wh: tuple[Width, Height] = (1280, 720)
    fps: float = Field(default=10, gt=0, le=1000)
    noise: float = Field(default=3, ge=0, le=64)
    seed: int = Field(default=0, ge=0)


class SyntheticCamera:
    """A camera whose view wanders over a scene."""

    every_frame = False

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def address(self) -> str:
        """The photograph."""
        return f"synthetic:{self._options.photo or 'matplotlib'}"

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Iterate captures until ``stop``, the same at every connection.

        Raises:
            SourceError: The photograph cannot be read.
        """
        options = self._options
        photo = read_picture(options.photo or find_shipped_photo()).rgb
        view = _View(_compose_scene(photo, options.size_wh), options)
        with contextlib.closing(self._captures(view, stop)) as captures:
            yield captures

    def _captures(self, view: _View, stop: threading.Event) -> Generator[Capture]:
        due_s, row = time.monotonic(), 0
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            late_s = time.monotonic() - due_s
            if late_s > 1:  # not read for a while: a camera does not catch up
                due_s, late_s = due_s + late_s, 0.0
            captured_s = time.time() - late_s
            yield Capture(RgbPicture(view.render(row)), captured_s, due_s)
            due_s, row = due_s + 1 / self._options.fps, row + 1


class _View:
    """The part of the scene that is visible in each frame."""

    def __init__(self, scene: U8, options: Options) -> None:
        self._scene = scene
        self._options = options
        self._random = np.random.default_rng(options.seed)
        self._phases = self._random.uniform(0, 2 * math.pi, 3)
        w, h = options.size_wh
        shape = (h + _NOISE_SHIFT_PX, w + _NOISE_SHIFT_PX, 3)
        noise = self._random.normal(0, options.noise, shape).astype(np.float32)
        self._brighter = np.clip(noise, 0, 255).astype(np.uint8)
        self._darker = np.clip(-noise, 0, 255).astype(np.uint8)

    def render(self, row: int) -> U8:
        """Render frame ``row`` as ``(H, W, 3)`` RGB."""
        (w, h), (scene_h, scene_w) = self._options.size_wh, self._scene.shape[:2]
        angles = 2 * math.pi * row / self._options.fps / np.array(_PERIODS_S) + self._phases
        across, down, near = (1 + np.sin(angles)) / 2  # each in [0, 1]
        scale = 1 + (_MARGIN - 1) * float(near)  # scene pixels per picture pixel
        left, top = (scene_w - w * scale) * float(across), (scene_h - h * scale) * float(down)
        place = np.array([[scale, 0, left], [0, scale, top]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(self._scene, place, (w, h), flags=flags)
        return self._with_noise(np.asarray(image, np.uint8))

    def _with_noise(self, image: U8) -> U8:
        if not self._options.noise:
            return image
        h, w = image.shape[:2]
        x, y = self._random.integers(0, _NOISE_SHIFT_PX, 2)
        cv2.add(image, self._brighter[y : y + h, x : x + w], dst=image)
        cv2.subtract(image, self._darker[y : y + h, x : x + w], dst=image)
        return image


def _compose_scene(photo: U8, size_wh: tuple[int, int]) -> U8:
    """The photograph at full height, over a blurred copy where it is too narrow."""
    w, h = (round(side * _MARGIN) for side in size_wh)
    fill, fit = (pick(w / photo.shape[1], h / photo.shape[0]) for pick in (max, min))
    scene = _crop_center(_resize(photo, fill), w, h)
    scene = cv2.resize(cv2.resize(scene, (16, 9), interpolation=cv2.INTER_AREA), (w, h))  # type: ignore[assignment]
    front = _resize(photo, fit)[:h, :w]
    y, x = (h - front.shape[0]) // 2, (w - front.shape[1]) // 2
    scene[y : y + front.shape[0], x : x + front.shape[1]] = front
    return scene


def _resize(photo: U8, scale: float) -> U8:
    size_wh = (math.ceil(photo.shape[1] * scale), math.ceil(photo.shape[0] * scale))
    return np.asarray(cv2.resize(photo, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def _crop_center(image: U8, w: int, h: int) -> U8:
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[y : y + h, x : x + w]


def find_shipped_photo() -> Path:
    """The photograph of a person that matplotlib ships (Grace Hopper, US Navy, public domain)."""
    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin:
        path = Path(found.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
        if path.is_file():
            return path
    raise SourceError(f"there is no photograph: set photo, or, {advise_extra('demo')}")


def build(options: Options) -> SyntheticCamera:
    """Create the source that options describe."""
    return SyntheticCamera(options)
