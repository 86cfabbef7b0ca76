"""Checks of the five points of faces: left and right exchanged, mirrored pictures, stray points.

Left and right are as seen in the image. Seen along the face, from the eyes down to the mouth, the
left point of a pair lies on the left however the face is turned or tilted; so an order that is
wrong shows in the points alone. Points that a mirrored picture kept of its original do not: they
show beside the original, where the data set has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.types import F32, U8
from trainers.data.dataset import Example, Problem
from trainers.data.near_duplicates import compute_dhash, count_different_bits

_MIRRORED = [1, 0, 2, 4, 3]  # where each of five points goes in the mirror image
_COPY_BITS = 60  # of 512: a mirrored copy, even compressed anew
_SAME, _OTHER = 0.02, 0.1  # of a face's box: points that were copied, and points that differ
_BEYOND = 0.2  # of a face's box: farther outside of it no point of the face is
_LEFT_RIGHT = "left and right are as seen in the image"


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Difference hashes ``(64,)`` of a picture and of its mirror image."""

    direct: U8
    mirrored: U8


def compute_fingerprint(image: U8) -> Fingerprint:
    """The fingerprint of ``(H, W, 3)`` uint8 RGB."""
    return Fingerprint(compute_dhash(image), compute_dhash(np.ascontiguousarray(image[:, ::-1])))


def find_point_problems(example: Example) -> Iterator[str]:
    """What is wrong with the points of a picture's faces, as far as they tell."""
    for xyxy, points in zip(example.xyxy, example.landmarks, strict=True):
        if not np.isfinite(points).all():
            continue
        place = f"of the face at {np.round(xyxy).astype(int).tolist()}"
        beyond = np.maximum(xyxy[:2] - points, points - xyxy[2:]) / (xyxy[2:] - xyxy[:2])
        if beyond.max() > _BEYOND:
            yield (
                f"points {place} lie outside its box: if the picture was mirrored or cut, do the "
                "same to its points"
            )
            continue
        eyes, mouth = _are_exchanged(points)
        if eyes and mouth:
            yield (
                f"left and right points {place} are exchanged, as in a mirrored picture or where a "
                f"person's own left is meant: exchange eyes and mouth corners ({_LEFT_RIGHT})"
            )
        elif eyes:
            yield f"the eyes {place} are exchanged: exchange leye and reye ({_LEFT_RIGHT})"
        elif mouth:
            yield (
                f"the mouth corners {place} are exchanged: exchange lmouth and rmouth "
                f"({_LEFT_RIGHT})"
            )


def _are_exchanged(points: F32) -> tuple[bool, bool]:
    """Whether the eyes, and the corners of the mouth, of ``(5, 2)`` points are exchanged."""
    left_eye, right_eye, _, left_mouth, right_mouth = points
    down = left_mouth + right_mouth - left_eye - right_eye
    right = np.array([down[1], -down[0]])  # of who looks at the face
    return bool((right_eye - left_eye) @ right < 0), bool((right_mouth - left_mouth) @ right < 0)


def find_unmirrored(
    examples: Sequence[Example], fingerprints: Sequence[Fingerprint | None]
) -> Iterator[Problem]:
    """Pictures that mirror an earlier one of the set and bear its points as they were.

    Pictures of one face with five points are compared, whose ``fingerprints`` are not None.
    """
    compared = [
        (example, one)
        for example, one in zip(examples, fingerprints, strict=True)
        if one is not None and len(example) == 1 and np.isfinite(example.landmarks).all()
    ]
    direct = np.stack([one.direct for _, one in compared]) if compared else np.zeros((0, 64), "u1")
    for row, (example, one) in enumerate(compared[1:], 1):
        bits = count_different_bits(direct[:row], one.mirrored)
        nearest = int(bits.argmin())
        as_is = int(count_different_bits(direct[nearest, None], one.direct)[0])
        if bits[nearest] > min(_COPY_BITS, as_is / 2):  # a symmetric picture tells nothing
            continue
        before, _ = compared[nearest]
        if _kept_points(before, example):
            what = (
                f"{example.name} shows {before.name} mirrored, but its points are not: mirror them "
                "and exchange left and right"
            )
            yield Problem(example.label_file, 0, what)


def _kept_points(before: Example, mirrored: Example) -> bool:
    """Whether a mirrored picture bears the points of the picture before, unlike their mirror."""
    size_wh = np.array(before.size_wh, np.float32)
    scale = size_wh / np.array(mirrored.size_wh, np.float32)
    points, here = before.landmarks[0], mirrored.landmarks[0] * scale
    expected = points[_MIRRORED] * [-1, 1] + [size_wh[0], 0]
    side = float((before.xyxy[0, 2:] - before.xyxy[0, :2]).max())
    kept, other = np.abs(here - points).max(), np.abs(here - expected).max()
    return bool(kept < _SAME * side and other > _OTHER * side)
