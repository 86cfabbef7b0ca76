"""Presentation attacks, simulated from images of live people.

A `Clip` is a sequence of T images of one face. An attack shows a clip, or its first image, on a
surface (`media`), holds that in front of another scene, moves it as a plane, and films it with a
camera. Live clips go through the same camera, so that its artifacts give nothing away.

These are guesses at what real attacks look like. Withstanding them says little about real ones;
`HELD_OUT` kinds, which no training uses, show how a network does on kinds it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge.types import F32, U8
from edge.vision.resize import resize
from trainers.augment.augment import Rng
from trainers.augment.color import add_noise, jpeg, sharpen
from trainers.spoofing.media import Bare, Cutout, Gloss, Halftone, Medium, Print, Screen, Surface

Scene = Callable[[Rng], U8]  # the background of an attack
Bearer = Callable[[Rng], "Clip"]  # a live person who bears a mask
_LEAST_PX = 24  # side of an image
_MOST_FACE_PX = 130.0  # of a reproduced face: a camera resolves no more, and it costs time


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """T images of one face.

    Attributes:
        images: T arrays ``(H, W, 3)`` uint8 RGB.
        xyxy: ``(T, 4)`` float32, box of the face, pixels of each image.
    """

    images: tuple[U8, ...]
    xyxy: F32

    def __post_init__(self) -> None:
        if not self.images or self.xyxy.shape != (len(self.images), 4):
            raise ValueError(
                f"xyxy must be ({len(self.images)}, 4), one face per image, got {self.xyxy.shape}"
            )
        self.xyxy.flags.writeable = False

    def __len__(self) -> int:
        return len(self.images)

    def still(self) -> Clip:
        """The first image, T times."""
        return Clip(self.images[:1] * len(self), np.tile(self.xyxy[:1], (len(self), 1)))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of attack.

    Attributes:
        medium: Turns an image into a surface.
        video: Show the whole clip; otherwise its first image, as a still.
        bends: Probability that the surface bends like paper.
        near: Probability that it fills the image, so that no edge is visible.
        band: Probability of a refresh band.
        soft_px: Largest blur of a lens out of focus.
        worn: Whether it is worn as a mask in front of a live face.
    """

    medium: Medium
    video: bool = False
    bends: float = 0.0
    near: float = 0.0
    band: float = 0.0
    soft_px: float = 0.0
    worn: bool = False


_PHOTO = Print(blackest=0.1, whitest=0.9, colors=0.8, grain=1.5)

KINDS: dict[str, Kind] = {
    "print": Kind(Print(), near=0.2),
    "bent print": Kind(Print(), bends=1.0, near=0.1),
    "photo": Kind(Gloss(_PHOTO), bends=0.6),
    "plain": Kind(Bare()),
    "cut-out": Kind(Cutout(Print()), worn=True),
    "phone": Kind(Gloss(Screen(bezel=1.0)), video=True, band=0.3),
    "tablet": Kind(Gloss(Screen(strips=0.35, bezel=0.9)), video=True, near=0.3, band=0.4),
    "screen": Kind(Screen(bezel=0.3), video=True, near=0.6, band=0.5),
}
HELD_OUT: dict[str, Kind] = {
    "newspaper": Kind(Halftone(), bends=0.6, near=0.1),
    "soft screen": Kind(Screen(strips=0.2, bezel=0.5), video=True, near=0.7, band=0.6, soft_px=2.0),
    "cut-out photo": Kind(Cutout(_PHOTO), worn=True),
    "still on a screen": Kind(Gloss(Screen()), near=0.4),
}
ALL = KINDS | HELD_OUT


def simulate_attack(clip: Clip, kind: Kind, scene: Scene, bearer: Bearer, rng: Rng) -> Clip:
    """Simulate an attack that shows a live ``clip``; as many images, with the new box of the face.

    ``scene`` draws the background, ``bearer`` the live person who bears a mask.
    """
    near = rng.random() < kind.near
    cut = _cut(clip, rng.uniform(1.5, 2.4) if near else rng.uniform(1.25, 3.0), rng)
    shown = cut if kind.video else cut.still()
    seed = int(rng.integers(2**32))  # the same surface in every image
    surfaces = [
        kind.medium(shown.images[t], shown.xyxy[t], np.random.default_rng(seed))
        for t in range(len(shown) if kind.video else 1)
    ]
    if kind.worn:
        background, place = _on_head(bearer(rng), surfaces[0], shown.xyxy[0], rng)
    else:
        background, place = _before(surfaces[0], shown.xyxy[0], near, scene, rng)
    path = _path(len(clip), rng, place, near=near)
    bend = rng.uniform(-0.12, 0.12) if rng.random() < kind.bends else 0.0
    light, soft = _light(len(clip), rng), rng.uniform(0.3, 1) * kind.soft_px
    band = _Band.draw(rng) if rng.random() < kind.band else None
    images, boxes = [], []
    for t in range(len(clip)):
        surface = surfaces[min(t, len(surfaces) - 1)]
        image, box = _hold(surface, shown.xyxy[t], background, path[t], bend)
        if band is not None:
            image = band(image, t)
        if soft:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), soft), np.float32)
        images.append(np.clip(image * light[t], 0, 255).astype(np.uint8))
        boxes.append(box)
    return Clip(tuple(images), np.array(boxes, np.float32))


def _cut(clip: Clip, wide: float, rng: Rng) -> Clip:
    """The reproduced part of each image: around the face, ``wide`` times as large."""
    images, boxes = [], []
    shift = rng.uniform(-0.15, 0.15, 2)
    for image, box in zip(clip.images, clip.xyxy, strict=True):
        size = box[2:] - box[:2]
        middle = (box[:2] + box[2:]) / 2 + shift * size
        limit = np.array(image.shape[1::-1])
        low = np.clip(middle - size * wide / 2, 0, limit - 2).astype(int)
        high = np.clip(middle + size * wide / 2, low + 2, limit).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        images.append(_fitting(part, _MOST_FACE_PX / _side_px(box)))
        grown = np.array(images[-1].shape[1::-1]) / np.array(part.shape[1::-1])
        boxes.append((box.reshape(2, 2) - low) * grown)
    first = images[0].shape[:2]  # a screen does not change its size
    for t in range(1, len(images)):
        if images[t].shape[:2] != first:
            ratio = np.array(first[::-1]) / np.array(images[t].shape[1::-1])
            shrunk = cv2.resize(images[t], first[::-1], interpolation=cv2.INTER_AREA)
            images[t] = np.asarray(shrunk, np.uint8)
            boxes[t] = boxes[t] * ratio
    return Clip(tuple(images), np.array(boxes, np.float32).reshape(-1, 4))


def _fitting(image: U8, most: float) -> U8:
    """Shrink by ``most``, but never to less than a few pixels."""
    h, w = image.shape[:2]
    grow = max(min(1.0, most), _LEAST_PX / min(h, w))
    return image if grow == 1 else resize(image, (round(w * grow), round(h * grow)))


# --- where it is held -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pose:
    """How a surface is held in front of the camera.

    Attributes:
        scale: Pixels of the image per pixel of the surface.
        roll: Rotation in the image plane, radians.
        yaw: Rotation out of the image plane, radians.
        pitch: Rotation out of the image plane, radians.
        at_xy: Position of the middle of the face, pixels of the image.
    """

    scale: float
    roll: float
    yaw: float
    pitch: float
    at_xy: tuple[float, float]


def _side_px(box: F32) -> float:
    """Side of a square as large as the box."""
    return float(np.sqrt(max((box[2:] - box[:2]).prod(), 1)))


def _on_head(bearer: Clip, surface: Surface, face: F32, rng: Rng) -> tuple[U8, Pose]:
    """A live person as background, and the pose of the attack on the face."""
    image, box = bearer.images[0], bearer.xyxy[0]
    grow = _side_px(box) / _side_px(surface.place(face.reshape(2, 2)).ravel())
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return image, Pose(grow * rng.uniform(0.95, 1.2), 0, 0, 0, (x, y))


def _before(surface: Surface, face: F32, near: bool, scene: Scene, rng: Rng) -> tuple[U8, Pose]:
    """The background of an attack, and the pose in front of it."""
    drawn = surface.place(face.reshape(2, 2))
    drawn_px = _side_px(drawn.ravel())
    face_px = float(np.exp(rng.uniform(np.log(45), np.log(320))))
    # as close as live images are cropped, or the visible surroundings would tell them apart
    room = rng.uniform(1.5, 2.6) if near or rng.random() < 0.75 else rng.uniform(2.6, 5)
    aspect = rng.uniform(0.8, 1.4)
    width, height = (int(min(max(face_px * room * a, 48), 720)) for a in (aspect, 1 / aspect))
    size_wh = (width, height)
    background = _covering(scene(rng), size_wh, rng)
    scale = face_px / drawn_px
    margin = np.minimum(np.array(size_wh) / 2, face_px * 0.6)
    at_xy = rng.uniform(margin, np.maximum(np.array(size_wh) - margin, margin + 1e-3))
    if near:  # it fills the image: the surface is made larger
        scale = max(scale, *(1.15 * np.array(size_wh) / surface.rgba.shape[1::-1]))
        middle = (drawn[0] + drawn[1]) / 2 - np.array(surface.rgba.shape[1::-1]) / 2
        at_xy = np.array(size_wh) / 2 + middle * scale
    return background, Pose(scale, 0, 0, 0, tuple(at_xy.tolist()))


def _covering(image: U8, size_wh: tuple[int, int], rng: Rng) -> U8:
    """A crop of a scene of this size, often out of focus."""
    h, w = image.shape[:2]
    share = min(w / size_wh[0], h / size_wh[1]) / rng.uniform(1, 1.6)
    cut_w, cut_h = (max(1, int(side * share)) for side in size_wh)
    x, y = int(rng.integers(0, w - cut_w + 1)), int(rng.integers(0, h - cut_h + 1))
    piece = cv2.resize(
        image[y : y + cut_h, x : x + cut_w], size_wh,
        interpolation=cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR,
    )  # fmt: skip
    if rng.random() < 0.6:
        piece = cv2.GaussianBlur(piece, (0, 0), rng.uniform(0.5, 5))
    return np.asarray(piece, np.uint8)


def _path(frames: int, rng: Rng, middle: Pose, *, near: bool) -> list[Pose]:
    """One pose per image: a hand that holds still or moves, smoothly."""
    tilt = 0.12 if near else 0.5
    base = rng.uniform(-1, 1, 3) * [0.1 if near else 0.35, tilt, tilt] * rng.random()
    much = rng.random() * np.array([0.1, 0.3, 0.3, 0.12, 0.25, 0.25]) * (0.3 if near else 1)
    phase, speed = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.2, 1.5, 6)
    swings = much * np.sin(speed * np.arange(frames)[:, None] + phase)  # (T, 6)
    move_px = 60 if not near else 4
    return [
        replace(
            middle, roll=base[0] + s[0], yaw=base[1] + s[1], pitch=base[2] + s[2],
            scale=middle.scale * (1 + s[3]),
            at_xy=(middle.at_xy[0] + move_px * (s[4] - swings[0, 4]),
                   middle.at_xy[1] + move_px * (s[5] - swings[0, 5])),
        )
        for s in swings
    ]  # fmt: skip


def project_plane(corners: F32, pose: Pose, about_xy: F32) -> F32:
    """Project points ``(N, 2)`` of a plane into the image; ``about_xy`` lands on ``pose.at_xy``.

    The camera is at a distance of 4 times the plane's size.
    """
    flat = (corners - about_xy) * pose.scale
    far = 4 * max(float(np.abs(flat).max()), 1.0)
    depth = far + flat[:, 0] * np.sin(pose.yaw) + flat[:, 1] * np.sin(pose.pitch)
    x = flat[:, 0] * np.cos(pose.yaw) * far / depth
    y = flat[:, 1] * np.cos(pose.pitch) * far / depth
    cos, sin = np.cos(pose.roll), np.sin(pose.roll)
    seen = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1) + pose.at_xy
    return seen.astype(np.float32)


def _hold(surface: Surface, face: F32, background: U8, pose: Pose, bend: float) -> tuple[F32, F32]:
    """The surface in front of the background, and the box of the face."""
    rgba = surface.rgba
    box = surface.place(face.reshape(2, 2))
    ring = np.array([[box[i, 0], box[j, 1]] for i in (0, 1) for j in (0, 1)], np.float32)
    if bend:
        rgba, ring = _bent(rgba, ring, bend)
    h, w = rgba.shape[:2]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    about = ring.mean(0)
    points = np.concatenate([corners, ring])
    seen = project_plane(points, pose, about)
    matrix = cv2.getPerspectiveTransform(corners, seen[:4])
    size_wh = (background.shape[1], background.shape[0])
    warped = cv2.warpPerspective(rgba, matrix, size_wh, flags=cv2.INTER_LINEAR)
    share = cv2.GaussianBlur(warped[..., 3], (0, 0), 0.6).astype(np.float32)[..., None] / 255
    image = background * (1 - share) + warped[..., :3] * share
    ring_seen = seen[4:]
    return image.astype(np.float32), np.concatenate([ring_seen.min(0), ring_seen.max(0)])


def _bent(rgba: U8, points: F32, bend: float) -> tuple[U8, F32]:
    """Bend around an upright axis like paper: the middle lies higher or lower."""
    h, w = rgba.shape[:2]
    pad = int(abs(bend) * h) + 1
    tall = cv2.copyMakeBorder(rgba, pad, pad, 0, 0, cv2.BORDER_CONSTANT, value=[0, 0, 0, 0])
    y, x = np.mgrid[: tall.shape[0], :w].astype(np.float32)

    def lift(at_x: F32) -> F32:
        return np.asarray(bend * h * (1 - (2 * at_x / w - 1) ** 2), np.float32)

    bent = cv2.remap(tall, x, y + lift(x), cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    shade = 1 + 0.8 * bend * (2 * x[..., None] / w - 1)
    bent[..., :3] = np.clip(bent[..., :3] * shade, 0, 255)
    moved = points + np.array([0, pad], np.float32)
    moved[:, 1] -= lift(points[:, 0])
    return np.asarray(bent, np.uint8), moved.astype(np.float32)


def _light(frames: int, rng: Rng) -> F32:
    """The light in the room on each image, ``(T, 1, 1, 3)``."""
    color = np.float32(rng.uniform(0.85, 1.12, 3)) * np.float32(rng.uniform(0.7, 1.15))
    flicker = 1 + rng.normal(0, 0.02, (frames, 1))
    return (color * flicker).astype(np.float32)[:, None, None]


@dataclass(frozen=True, slots=True)
class _Band:
    """The bright and dark bands that the refresh of a screen leaves in a camera image."""

    count: float
    phase: float
    speed: float
    much: float

    @classmethod
    def draw(cls, rng: Rng) -> _Band:
        return cls(
            rng.uniform(0.4, 3), rng.uniform(0, 6.3), rng.uniform(0.3, 3), rng.uniform(0.04, 0.2)
        )

    def __call__(self, image: F32, t: int) -> F32:
        y = np.linspace(0, 1, len(image), dtype=np.float32)
        gain = 1 + self.much * np.sin(2 * np.pi * self.count * y + self.phase + self.speed * t)
        return np.asarray(image * gain[:, None, None].astype(np.float32), np.float32)


# --- the camera that films live people and attacks ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Camera:
    """Camera artifacts, each with a ``chance``; all but the noise stay the same through a clip."""

    chance: float = 0.35

    def __call__(self, clip: Clip, rng: Rng) -> Clip:
        """Apply the artifacts."""
        dull, soft, noisy, packed, coarse, tinted = rng.random(6) < self.chance
        share = rng.uniform(0.5, 1) if coarse else 1.0
        sigma, noise, quality = rng.uniform(0.4, 1.3), rng.uniform(1, 8), int(rng.integers(35, 95))
        gain, gamma = rng.uniform(0.6, 1.3), rng.uniform(0.75, 1.35)
        tint = rng.uniform(0.88, 1.12, 3).astype(np.float32)
        tone = np.linspace(0, 1, 256) ** (gamma if dull else 1) * (gain if dull else 1) * 255
        tint = tint if tinted else np.ones(3, np.float32)
        crisp, much = rng.random() < 0.7 * self.chance, rng.uniform(0.3, 1.2)
        curve = np.clip(tone[:, None] * tint, 0, 255).astype(np.uint8)[:, None]  # (256, 1, 3)
        images: list[U8] = []
        for image in clip.images:
            made: np.ndarray = image
            if coarse:
                small = tuple(max(_LEAST_PX, round(side * share)) for side in image.shape[1::-1])
                made = cv2.resize(made, small, interpolation=cv2.INTER_AREA)
            if dull or tinted:
                made = cv2.LUT(made, curve)
            if soft:
                made = cv2.GaussianBlur(made, (0, 0), sigma)
            elif crisp:
                made = sharpen(np.ascontiguousarray(made), sigma, much)
            if noisy:
                made = add_noise(np.ascontiguousarray(made), noise, rng)
            if packed:
                made = jpeg(made, quality)
            images.append(np.asarray(made, np.uint8))
        ratio = [np.array(b.shape[1::-1]) / np.array(a.shape[1::-1])
                 for a, b in zip(clip.images, images, strict=True)]  # fmt: skip
        boxes = clip.xyxy * np.tile(np.array(ratio, np.float32), (1, 2))
        return Clip(tuple(images), boxes.astype(np.float32))


def mirror_clip(clip: Clip) -> Clip:
    """The clip with left and right exchanged."""
    boxes = clip.xyxy.copy()
    for t, image in enumerate(clip.images):
        boxes[t, [0, 2]] = image.shape[1] - clip.xyxy[t, [2, 0]]
    return Clip(tuple(np.ascontiguousarray(i[:, ::-1]) for i in clip.images), boxes)


def extend_surroundings(clip: Clip, grow: float) -> Clip:
    """Extend images cropped close by reflection, blurred outwards, to ``grow`` times their size."""
    images, boxes = [], []
    for image, box in zip(clip.images, clip.xyxy, strict=True):
        h, w = image.shape[:2]
        down, across = int((grow - 1) * h / 2), int((grow - 1) * w / 2)
        large = cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_REFLECT_101)
        inside = np.zeros(large.shape[:2], np.float32)
        inside[down : down + h, across : across + w] = 1
        inside = cv2.blur(cv2.erode(inside, np.ones((9, 9))), (15, 15))[..., None]
        soft = cv2.GaussianBlur(large, (0, 0), 4)
        images.append((large * inside + soft * (1 - inside)).astype(np.uint8))
        boxes.append(box + np.array([across, down, across, down], np.float32))
    return Clip(tuple(images), np.array(boxes, np.float32))
