"""Films of photographs that are better than the camera resolves: held, swayed and swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.ports import FaceFinder
from edge.types import U8
from tests.support.films import FPS, make_frame
from trainers.spoofing.attacks import ALL
from trainers.spoofing.clips import Scenes

SWAP_S = 0.4
MARGIN = 1.14  # times as large as the view: what is beyond it when a picture fills it


@dataclass(frozen=True)
class Held:
    """How a photograph is held.

    Attributes:
        tremor_px: Of a hand, pixels.
        fills: Its border lies outside of the view, and it sways slowly.
        swaps: It takes turns with another photograph of the same person.
    """

    tremor_px: float = 0.0
    fills: bool = False
    swaps: bool = False


HELD = {
    "swapped": Held(tremor_px=3, swaps=True),
    "trembling": Held(tremor_px=3),
    "filling": Held(fills=True),
    "unmoved": Held(),
}
MEDIA = ("clean", "print", "screen")


@dataclass(frozen=True)
class Photo:
    """A photograph of one face: pixels, box ``(4,)`` and five points ``(5, 2)``."""

    rgb: U8
    xyxy: np.ndarray
    points: np.ndarray


def film_photographs(
    photos: Sequence[Photo],
    held: Held,
    medium: str,
    scenes: Scenes,
    rng: np.random.Generator,
    frames: int,
) -> Iterator[U8]:
    """What a camera sees of photographs: the first, or two in turn; with a little noise."""
    first = photos[0]
    height, width = first.rgb.shape[:2]
    size_wh = (int(width / MARGIN), int(height / MARGIN)) if held.fills else (640, 480)
    size_wh = min(size_wh[0], 640), min(size_wh[1], 480)
    drawn = [_draw(photo, medium, rng) for photo in (photos[:2] if held.swaps else photos[:1])]
    eyes = first.points[1] - first.points[0]
    if held.fills:
        free = np.array([width, height]) / MARGIN - size_wh  # the view is cut about the face
        middle = np.array([width, height]) / 2
        shift = (
            np.array(size_wh) / 2
            - middle
            - np.clip(first.points.mean(0) - middle, -free / 2, free / 2)
        )
    else:
        shift = np.array(size_wh) / 2 - first.points.mean(0)
    scene = cv2.resize(scenes(rng), size_wh)
    phases, speeds = rng.uniform(0, 6.28, (3, 4)), rng.uniform([[4], [9], [15]], [[9], [15], [24]],
                                                               (3, 4))  # fmt: skip
    sway_phase, sway_speed = rng.uniform(0, 6.28, 4), rng.uniform(0.8, 2.5, 4)
    noise = rng.uniform(0.5, 2.5)
    for number in range(frames):
        at_s = number / FPS
        shake = np.sin(phases + speeds * at_s).mean(0) * held.tremor_px * 1.5
        move, turn, grow = shake[:2], shake[2] / 400, 1 + shake[3] / 400
        if held.fills:
            sway = np.sin(sway_phase + sway_speed * at_s)
            move, turn, grow = sway[:2] * [12, 9], 0.04 * sway[2], 1 + 0.03 * sway[3]
        which = int(at_s / SWAP_S) % len(drawn)
        rgba, offset, scale = drawn[which]
        points = photos[which].points
        across = points[1] - points[0]  # laid over the eyes of the first
        ratio = complex(*eyes) / complex(*across) * grow * np.exp(1j * turn)
        center = points.mean(0)
        goal = first.points.mean(0) + shift + move
        linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
        matrix = np.column_stack(
            [linear / scale, goal - linear @ (center + np.array(offset) / scale)]
        )
        seen = cv2.warpAffine(rgba, matrix, size_wh, flags=cv2.INTER_LINEAR)
        share = cv2.GaussianBlur(seen[..., 3], (0, 0), 0.6).astype(np.float32)[..., None] / 255
        shown = seen[..., :3] * share + scene * (1 - share)
        yield np.clip(shown + rng.normal(0, noise, shown.shape), 0, 255).astype(np.uint8)


def find_photo(finder: FaceFinder, rgb: U8, face_px: float) -> Photo:
    """The largest face of a photograph, which is shrunk until that is at most ``face_px`` high."""

    def find(image: U8) -> Photo:
        (faces,) = finder.find([make_frame(image, 0)])
        row = int((faces.xyxy[:, 3] - faces.xyxy[:, 1]).argmax())
        return Photo(image, faces.xyxy[row], faces.landmarks[row])

    found = find(rgb)
    shrink = face_px / float(found.xyxy[3] - found.xyxy[1])
    if shrink >= 1:
        return found
    return find(cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA))


def _draw(photo: Photo, medium: str, rng: np.random.Generator):
    """The surface ``(H, W, 4)``, where the photograph begins in it, and how much it grew."""
    if medium == "clean":
        return np.dstack([photo.rgb, np.full(photo.rgb.shape[:2], 255, np.uint8)]), (0, 0), 1.0
    surface = ALL[medium].medium(photo.rgb, photo.xyxy, rng)
    return surface.rgba, surface.offset_xy, surface.scale
