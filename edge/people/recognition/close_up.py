"""Close-ups: a face is cut out of its picture and its landmarks are found again.

A face finder sees the picture shrunk to its input: in 1080p the eyes of a face that is large enough
to be recognized are three pixels apart there, and its landmarks are off by tenths of their
distance. Measured with zoo:faces-nano and zoo:embed-nano on 50 people they were not trained on
(ytf_dev), before other pictures, eyes 40 px apart in the picture; embed-nano's TAR at FAR 1e-3:

    picture     without   one close-up   four   labeled landmarks
    as it is      0.808          0.820  0.816               0.839
    640x480       0.749          0.813  0.824               0.834   (eyes 30 px apart)
    1280x720      0.718          0.842  0.853               0.858
    1920x1080     0.611          0.885  0.890               0.894
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.ports import FaceFinder
from edge.types import F32, Frame
from edge.vision.resize import crop

LOOK_SCALES = (2.0,)  # of the face's box, for one look of many
ENROLL_SCALES = (1.6, 2.0, 2.5, 3.2)
MAX_SHIFT = 0.25  # of the box's side, between the centers of one face's boxes


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face as the finder found it: ``(4,)`` box and ``(5, 2)`` landmarks, source pixels."""

    frame: Frame
    xyxy: F32
    landmarks: F32


def refine_landmarks(
    finder: FaceFinder, faces: Sequence[FoundFace], scales: Sequence[float] = LOOK_SCALES
) -> F32:
    """Find landmarks again in square cut-outs around each face, in one batch.

    Args:
        finder: Any.
        faces: N faces.
        scales: Sides of the cut-outs, in longer sides of the face's box.

    Returns:
        ``(N, 5, 2)`` float32, source pixels: the mean over the cut-outs, or what was found first
        where none of them shows the face.
    """
    parts, corners = list[Frame](), list[F32]()
    for face in faces:
        center, side = _measure(face.xyxy)
        for scale in scales:
            reach = side * scale / 2
            low, high = np.floor(center - reach).astype(int), np.ceil(center + reach).astype(int)
            part, corner_xy = crop(face.frame.picture, *low.tolist(), *high.tolist())
            parts.append(replace(face.frame, picture=part))
            corners.append(np.array(corner_xy, np.float32))
    again = finder.find(parts) if parts else []
    refined = []
    for row, face in enumerate(faces):
        center, side = _measure(face.xyxy)
        views = slice(row * len(scales), (row + 1) * len(scales))
        estimates = []
        for found, corner in zip(again[views], corners[views], strict=True):
            centers = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2 + corner
            shift = np.abs(centers - center).max(axis=1)
            if len(found) and shift.min() <= MAX_SHIFT * side:  # otherwise it is another face
                estimates.append(found.landmarks[int(shift.argmin())] + corner)
        refined.append(np.mean(estimates, axis=0) if estimates else face.landmarks)
    return np.array(refined, np.float32).reshape(-1, 5, 2)


def _measure(xyxy: F32) -> tuple[np.ndarray, float]:
    """Center and longer side of a box."""
    return (xyxy[:2] + xyxy[2:]) / 2, float((xyxy[2:] - xyxy[:2]).max())
