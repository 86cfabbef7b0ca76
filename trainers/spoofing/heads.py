"""Heads that move: a photograph laid over a rough head that turns, nods and comes closer.

`Photograph.head` is what a living person shows; `Photograph.plane` is the same photograph held as a
flat picture. The head is an ellipsoid with a nose: its turning is that of no plane, and no more is
true of it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import F32, U8

MM_EYES = 63.0
FRONT_MM, DEEP_MM, RADII_MM = -18.0, 95.0, (80.0, 115.0)  # of the ellipsoid under the face
NOSE_MM, NOSE_WIDE_MM = 18.0, 12.0
NECK_MM = -60.0  # the head turns about it
ROUNDS = 12
FPS = 5.0
STILL, TURNED = (2.5, 2.0), (18.0, 10.0)  # degrees of yaw and pitch to each side, at most
COARSE = 4  # pixels between two that are computed


@dataclass(frozen=True)
class Pose:
    """Degrees as `quality.Pose` has them, and how much larger than at the beginning."""

    yaw: float = 0.0
    pitch: float = 0.0
    scale: float = 1.0


class Photograph:
    """A photograph and where its face is.

    Args:
        rgb: ``(H, W, 3)``.
        points: ``(5, 2)`` eyes, nose, mouth corners.
        size_wh: of the pictures that are shown.
        eyes_px: distance of the eyes in them.
    """

    def __init__(
        self,
        rgb: np.ndarray,
        points: np.ndarray,
        size_wh: tuple[int, int] = (640, 480),
        eyes_px: float = 62,
    ) -> None:
        width, height = size_wh
        eyes = points[1] - points[0]
        zoom = eyes_px / float(np.linalg.norm(eyes))
        roll = np.degrees(np.arctan2(eyes[1], eyes[0]))
        matrix = cv2.getRotationMatrix2D(tuple(map(float, points[2])), roll, zoom)
        matrix[:, 2] += np.array([width / 2, height / 2 + 20]) - points[2]
        self._matrix = matrix
        small = cv2.GaussianBlur(rgb, (0, 0), max(0.3, 0.4 / zoom))
        self._rgb = cv2.warpAffine(small, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE)
        self._center = np.array([width / 2, height / 2 + 20], np.float32)
        self._px_mm = eyes_px / MM_EYES
        self._rng = np.random.default_rng(0)

    def head(self, pose: Pose) -> U8:
        """The head in a pose, with the noise of a sensor."""
        x, y = (side[::COARSE, ::COARSE] for side in self._grid_mm(pose.scale))
        from_x, from_y = x.copy(), y.copy()
        for _ in range(ROUNDS):  # where in the photograph does each pixel come from?
            moved_x, moved_y = _moved(from_x, from_y, pose)
            from_x, from_y = from_x - 0.7 * (moved_x - x), from_y - 0.7 * (moved_y - y)
        return self._noisy(self._sampled(self._fine(from_x), self._fine(from_y)))

    def place(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Where points of the photograph's face, ``(N, 2)`` pixels, lie in the head in a pose."""
        at_mm = (points @ self._matrix[:, :2].T + self._matrix[:, 2] - self._center) / self._px_mm
        moved = np.stack(_moved(at_mm[:, 0], at_mm[:, 1], pose), axis=-1)
        return np.asarray(moved * self._px_mm * pose.scale + self._center)

    def plane(self, pose: Pose) -> U8:
        """The photograph tilted as a plane."""
        x, y = self._grid_mm(pose.scale)
        yaw, pitch, far = np.radians(pose.yaw), np.radians(pose.pitch), 500.0
        # of the ray through x, y and the tilted plane where they meet
        slope = np.tan(yaw) * x / far - np.tan(pitch) * y / far
        depth = 1 / (1 + slope)
        return self._noisy(self._sampled(x * depth / np.cos(yaw), y * depth / np.cos(pitch)))

    def wearing(self, other: Photograph) -> Photograph:
        """The same picture with somebody else's face in it, in the same place."""
        x, y = self._grid_mm(1)
        inside = 1 - (x / RADII_MM[0]) ** 2 - ((y + 5) / RADII_MM[1]) ** 2
        share = np.clip(inside / 0.25, 0, 1)[..., None]
        worn = copy.copy(self)
        worn._rgb = (  # noqa: SLF001 - of its own class
            share * other._rgb + (1 - share) * self._rgb
        ).astype(np.uint8)
        return worn

    def _fine(self, coarse: np.ndarray) -> np.ndarray:
        """Linear between every `COARSE`-th pixel."""
        height, width = self._rgb.shape[:2]
        rows, columns = (np.arange(side, dtype=np.float32) / COARSE for side in (height, width))
        at = np.meshgrid(columns, rows)
        return cv2.remap(coarse, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _grid_mm(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        height, width = self._rgb.shape[:2]
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        px = self._px_mm * scale
        return (x - self._center[0]) / px, (y - self._center[1]) / px

    def _sampled(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        column = (x * self._px_mm + self._center[0]).astype(np.float32)
        row = (y * self._px_mm + self._center[1]).astype(np.float32)
        return cv2.remap(self._rgb, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _noisy(self, rgb: np.ndarray) -> U8:
        noise = self._rng.normal(0, 2, rgb.shape)
        return np.asarray(np.clip(rgb + noise, 0, 255), np.uint8)


def _moved(x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Where points of the face go when the head turns; what is no head stays."""
    inside = 1 - (x / RADII_MM[0]) ** 2 - ((y + 5) / RADII_MM[1]) ** 2
    z = FRONT_MM - DEEP_MM + DEEP_MM * np.sqrt(np.maximum(inside, 0))
    z += NOSE_MM * np.exp(-(x**2 + y**2) / (2 * NOSE_WIDE_MM**2)) - NECK_MM
    yaw, pitch = np.radians(pose.yaw), np.radians(pose.pitch)
    turned_x = x * np.cos(yaw) + z * np.sin(yaw)
    turned_z = -x * np.sin(yaw) + z * np.cos(yaw)
    turned_y = y * np.cos(pitch) - turned_z * np.sin(pitch)
    share = np.clip(inside / 0.25, 0, 1)
    return x + share * (turned_x - x), y + share * (turned_y - y)


def film_turning(
    rgb: U8, xyxy: F32, points: F32, frames: int, rng: np.random.Generator
) -> tuple[tuple[U8, ...], F32]:
    """A head that looks about, or hardly moves, made of one picture; `FPS` frames a second.

    Args:
        rgb: ``(H, W, 3)``.
        xyxy: ``(4,)`` of the face, pixels.
        points: ``(5, 2)`` its landmarks.
        frames: T.
        rng: Draws how far and how fast it turns.

    Returns:
        T pictures, and the box of the face in each, ``(T, 4)``.
    """
    eyes_px = float(np.linalg.norm(points[1] - points[0]))
    photo = Photograph(rgb, points, (rgb.shape[1], rgb.shape[0]), max(eyes_px, 1.0))
    much = np.array(STILL if rng.random() < 0.4 else TURNED) * rng.uniform(0.3, 1)
    phase, speed = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.5, 2.5, 2)
    images, boxes = [], []
    half = (xyxy[2:] - xyxy[:2]) / 2
    beside = (xyxy[:2] + xyxy[2:]) / 2 - points.mean(0)  # of the box's center and the points
    for number in range(frames):
        yaw, pitch = (much * np.sin(speed * number / FPS + phase)).tolist()
        pose = Pose(yaw, pitch)
        center = photo.place(points, pose).mean(0) + beside
        images.append(photo.head(pose))
        boxes.append(np.concatenate([center - half, center + half]))
    return tuple(images), np.array(boxes, np.float32)
