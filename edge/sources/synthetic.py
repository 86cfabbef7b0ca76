"""A camera that does not exist: it pans and zooms over a real photograph, with sensor noise."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from edge.errors import SourceError
from edge.types import U8, Capture, RgbPicture
from edge.vision.image_file import read_picture

_MARGIN = 1.25  # the scene is larger than the view by so much, to pan in
_NOISE_SHIFT_PX = 64  # the noise is one tile, shifted by up to so much for each frame
_PERIODS_S = (7.0, 11.0, 17.0)  # of panning across, panning down, zooming


class Options(BaseModel):
    """What the camera sees.

    Attributes:
        photo: a picture file; none takes the photograph that matplotlib ships.
        size_wh: picture width and height in pixels.
        fps: pictures a second.
        noise: standard deviation of the sensor noise, in grey values; 0 for none.
        seed: of noise and motion; the same seed gives the same pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photo: Path | None = None
    size_wh: tuple[PositiveInt, PositiveInt] = (1280, 720)
    fps: float = Field(default=10, gt=0, le=1000)
    noise: float = Field(default=3, ge=0, le=64)
    seed: int = Field(default=0, ge=0)


class SyntheticCamera:
    """A view that wanders over a scene."""

    every_frame = False

    def __init__(self, options: Options) -> None:
        """Read nothing yet."""
        self._options = options

    @property
    def address(self) -> str:
        """What is looked at."""
        return f"synthetic:{self._options.photo or 'matplotlib'}"

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Iterate captures until ``stop``, the same ones at every connection.

        Raises:
            SourceError: the photograph cannot be read.
        """
        options = self._options
        photo = read_picture(options.photo or _shipped_photo()).rgb
        view = _View(_scene(photo, options.size_wh), options)
        with contextlib.closing(self._captures(view, stop)) as captures:
            yield captures

    def _captures(self, view: _View, stop: threading.Event) -> Generator[Capture]:
        due_s, row = time.monotonic(), 0
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            late_s = time.monotonic() - due_s
            if late_s > 1:  # nobody asked for a while: a camera does not catch up
                due_s, late_s = due_s + late_s, 0.0
            captured_s = time.time() - late_s
            yield Capture(RgbPicture(view.look(row)), captured_s, due_s)
            due_s, row = due_s + 1 / self._options.fps, row + 1


class _View:
    """What the camera sees of the scene in each frame."""

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

    def look(self, row: int) -> U8:
        """Frame ``row`` as ``(H, W, 3)`` RGB."""
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


def _scene(photo: U8, size_wh: tuple[int, int]) -> U8:
    """The photograph at full height, on a blurred one where it is too narrow for the view."""
    w, h = (round(side * _MARGIN) for side in size_wh)
    fill, fit = (pick(w / photo.shape[1], h / photo.shape[0]) for pick in (max, min))
    scene = _centred(_resized(photo, fill), w, h)
    scene = cv2.resize(cv2.resize(scene, (16, 9), interpolation=cv2.INTER_AREA), (w, h))  # type: ignore[assignment]
    front = _resized(photo, fit)[:h, :w]
    y, x = (h - front.shape[0]) // 2, (w - front.shape[1]) // 2
    scene[y : y + front.shape[0], x : x + front.shape[1]] = front
    return scene


def _resized(photo: U8, scale: float) -> U8:
    size_wh = (math.ceil(photo.shape[1] * scale), math.ceil(photo.shape[0] * scale))
    return np.asarray(cv2.resize(photo, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def _centred(image: U8, w: int, h: int) -> U8:
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[y : y + h, x : x + w]


def _shipped_photo() -> Path:
    """The photograph of a person that matplotlib ships (Grace Hopper, US Navy, public domain)."""
    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin:
        path = Path(found.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
        if path.is_file():
            return path
    raise SourceError("no photograph to look at: pip install edgewatch[demo], or set photo")


def build(options: Options) -> SyntheticCamera:
    """The source these options describe."""
    return SyntheticCamera(options)
