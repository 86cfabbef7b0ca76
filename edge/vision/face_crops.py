"""Face crops: aligned by landmarks for embedders, wide for liveness models.

A wide crop shows what surrounds the face, such as a screen's edge or a sheet of paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import F32, U8, Picture, Resampling
from edge.vision.resize import crop, resize, resize_to_rgb, to_rgb

# Where an aligned face of 112 x 112 pixels has its left eye, right eye, nose and mouth corners,
# left and right as seen in the image (ArcFace, Deng et al. 2019).
FACE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)
FACE_PX = 112


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where an aligned crop lies in its picture: a similarity, ``z -> a z + b`` of complex points.

    Attributes:
        pixel_aspect: Width of the picture's pixels over their height; the similarity is one of
            the picture as it is shown.
    """

    a: complex
    b: complex
    pixel_aspect: float = 1.0

    def to_picture(self, points: F32) -> F32:
        """Points of the crop ``(..., 2)`` in pixels of the picture."""
        shown = (points[..., 0] + 1j * points[..., 1] - self.b) / self.a
        return np.stack([shown.real / self.pixel_aspect, shown.imag], axis=-1).astype(np.float32)

    def to_crop(self, points: F32) -> F32:
        """Points of the picture ``(..., 2)`` in pixels of the crop."""
        moved = self.a * (points[..., 0] * self.pixel_aspect + 1j * points[..., 1]) + self.b
        return np.stack([moved.real, moved.imag], axis=-1).astype(np.float32)


def fit_alignment(
    landmarks: F32, size_px: int = FACE_PX, margin: float = 0.0, pixel_aspect: float = 1.0
) -> Alignment | None:
    """Find the similarity that brings five points where aligned faces have them.

    It is that of least squares, without mirroring (Umeyama 1991).

    Args:
        landmarks: ``(5, 2)`` float32 in pixels of the picture, in the order of `Faces`.
        size_px: Side of the crop.
        margin: By which the crop is wider than those of embedders, as a fraction, half on each
            side.
        pixel_aspect: See `Alignment`.

    Returns:
        None where the points are not finite, all the same, or far too large.
    """
    shown = landmarks * np.array([pixel_aspect, 1], np.float32)
    aligned = (FACE_POINTS + margin * FACE_PX / 2) * size_px / (FACE_PX * (1 + margin))
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (shown, aligned))
    spread = source - source.mean()
    power = float(np.sum(np.abs(spread) ** 2))
    if not np.isfinite(power) or power < 1e-3:
        return None
    a = complex(np.vdot(spread, target - target.mean())) / power
    if abs(a) < 1e-3:
        return None
    return Alignment(a, complex(target.mean() - a * source.mean()), pixel_aspect)


def align_face(
    picture: Picture,
    landmarks: F32,
    size_px: int = FACE_PX,
    resampling: Resampling = "halved_bilinear",
    margin: float = 0.0,
) -> U8:
    """Rotate, scale and shift a face so that its landmarks lie where embedders expect them.

    Args:
        picture: Any size.
        landmarks: ``(5, 2)`` float32 in pixels of the picture, in the order of `Faces`.
        size_px: Side of the result.
        resampling: ``bilinear`` warps the picture as it is, as most embedders were trained;
            ``halved_bilinear`` shrinks it first where the warp would alias.
        margin: See `fit_alignment`.

    Returns:
        ``(size_px, size_px, 3)`` uint8 RGB, black outside the picture; all black when the
        points are not finite or all the same.
    """
    blank = np.zeros((size_px, size_px, 3), np.uint8)
    wide = picture.pixel_aspect
    fitted = fit_alignment(landmarks, size_px, margin, wide)
    if fitted is None:
        return blank
    a, b = fitted.a, fitted.b
    corners = (np.array([0, size_px, 1j * size_px, size_px * (1 + 1j)]) - b) / a
    low = np.floor([corners.real.min() / wide, corners.imag.min()]).astype(int) - 2
    high = np.ceil([corners.real.max() / wide, corners.imag.max()]).astype(int) + 2
    if np.any(high <= 0) or np.any(low >= picture.size_wh):
        return blank
    part, (x, y) = crop(picture, *low.tolist(), *high.tolist())
    # a warp reads 2x2 pixels: more than that aliases
    shrink = max(1, int(1 / abs(a))) if resampling == "halved_bilinear" else 1
    shown_wh = part.size_wh[0] * wide, part.size_wh[1]
    width, height = (max(1, round(side / shrink)) for side in shown_wh)
    rgb = resize_to_rgb(part, (width, height))
    across, down = shown_wh[0] / width, shown_wh[1] / height
    # centers of pixels lie at half a pixel in a resized picture, at 0 in landmarks and in a warp
    offset = a * complex(x * wide + (across - wide) / 2, y + (down - 1) / 2) + b
    matrix = np.array(
        [
            [a.real * across, -a.imag * down, offset.real],
            [a.imag * across, a.real * down, offset.imag],
        ]
    )
    return np.asarray(cv2.warpAffine(rgb, matrix, (size_px, size_px)), np.uint8)


def place_wide_box(xyxy: F32, scale: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Compute a face's box, ``scale`` times as large around its center, moved into the picture.

    A box that is larger than the picture shrinks, keeping its aspect, until it fits: as MiniFASNet
    cuts its crops (minivision-ai/Silent-Face-Anti-Spoofing, generate_patches.py).

    Returns:
        Whole pixels, x1 y1 x2 y2, the last ones excluded.
    """
    limit = np.array(size_wh, np.float64)
    low, high = xyxy[:2].astype(np.float64), xyxy[2:].astype(np.float64)
    size = np.maximum(high - low, 1)
    size = size * min(scale, *((limit - 1) / size))
    corner = np.clip((low + high - size) / 2, 0, limit - 1 - size)
    x1, y1 = corner.astype(int).tolist()
    x2, y2 = (corner + size).astype(int).tolist()
    return x1, y1, x2 + 1, y2 + 1


def crop_wide(
    picture: Picture,
    xyxy: F32,
    scale: float,
    size_wh: tuple[int, int],
    resampling: Resampling = "halved_bilinear",
) -> U8:
    """Crop a face with its surroundings: ``(h, w, 3)`` uint8 RGB; black if the box is not finite.

    The crop is ``scale`` times as large as the face, ``(4,)`` in pixels of the picture, and is
    resized to ``size_wh`` without keeping its aspect. For ``bilinear`` it is converted to RGB and
    cut to the pixel first: a network that reads texture sees exactly what it was trained on.
    """
    if not np.isfinite(xyxy).all():
        return np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x1, y1, x2, y2 = place_wide_box(xyxy, scale, picture.size_wh)
    part, (x, y) = crop(picture, x1, y1, x2, y2)
    if resampling == "halved_bilinear":
        return resize_to_rgb(part, size_wh)
    exact = to_rgb(part)[y1 - y : y2 - y, x1 - x : x2 - x]
    return resize(exact, size_wh, None, resampling)
