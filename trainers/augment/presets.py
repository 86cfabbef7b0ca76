"""Augmentation presets of the detector, the face detector and the classifier."""

from __future__ import annotations

from trainers.augment.augment import Augment, Sometimes
from trainers.augment.color import CheapCamera, ColorShift, Night, PcaColor
from trainers.augment.face_mosaic import FaceMosaic
from trainers.augment.geometry import Affine, Crop, Mirror, Warp
from trainers.augment.mixing import Mosaic


def detector_augments(strength: float = 1.0) -> list[Augment]:
    """The augmentations of an object detector; ``strength`` 0 only mirrors."""
    if not strength:
        return [Mirror()]
    return [
        Sometimes(0.5 * strength, Mosaic()),
        Sometimes(0.5, Crop()),
        Mirror(),
        Sometimes(0.5 * strength, Affine()),
        Sometimes(0.05 * strength, Warp()),
        Sometimes(0.7, ColorShift()),
        Sometimes(0.3, PcaColor()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.4 * strength, CheapCamera(0.25)),
    ]


def face_augments(size_px: int, strength: float = 1.0) -> list[Augment]:
    """The augmentations of a face detector: mosaics of faces of every size, then color.

    The mosaics have the size of the network's input; ``strength`` is that of the camera artifacts.
    """
    return [
        FaceMosaic(size_px),
        Sometimes(0.7, ColorShift()),
        Sometimes(0.3, PcaColor()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.4 * strength, CheapCamera()),
    ]


def class_augments(strength: float = 1.0, *, mirror: bool = True) -> list[Augment]:
    """The augmentations of a classifier; ``mirror`` is wrong where left and right are classes."""
    turned: list[Augment] = [Mirror()] if mirror else []
    if not strength:
        return turned
    return [
        *turned,
        Sometimes(0.7 * strength, Affine(8.0, 4.0, 1.0, 1.0, 0.0)),
        Sometimes(0.7, ColorShift()),
        Sometimes(0.3, PcaColor()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.4 * strength, CheapCamera(0.25)),
    ]
