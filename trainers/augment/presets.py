"""Which changes a detector and a face finder are trained with."""

from __future__ import annotations

from trainers.augment.augment import Augment, Sometimes
from trainers.augment.colour import CheapCamera, ColourShift, Night, PcaColour
from trainers.augment.geometry import Affine, Crop, Mirror, Warp
from trainers.augment.mixing import Mosaic, PasteSmall, Shrink


def detector_augments(strength: float = 1.0) -> list[Augment]:
    """For objects.

    Args:
        strength: 0 mirrors only, 1 is the default; the last epochs of a run gain from less.
    """
    if not strength:
        return [Mirror()]
    return [
        Sometimes(0.5 * strength, Mosaic()),
        Sometimes(0.5, Crop()),
        Mirror(),
        Sometimes(0.5 * strength, Affine()),
        Sometimes(0.05 * strength, Warp()),
        Sometimes(0.7, ColourShift()),
        Sometimes(0.3, PcaColour()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.4 * strength, CheapCamera(0.25)),
    ]


def face_augments(strength: float = 1.0) -> list[Augment]:
    """For faces: smaller, more of them, more tilted.

    Args:
        strength: 0 mirrors only, 1 is the default.
    """
    if not strength:
        return [Mirror()]
    return [
        Sometimes(0.3 * strength, Mosaic()),
        Sometimes(0.3, Crop(0.4)),
        Sometimes(0.3 * strength, Shrink()),
        Sometimes(0.5 * strength, PasteSmall()),
        Mirror(),
        Sometimes(0.5 * strength, Affine(degrees=20, smallest=0.7, largest=1.4)),
        Sometimes(0.05 * strength, Warp()),
        Sometimes(0.7, ColourShift()),
        Sometimes(0.3, PcaColour()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.5 * strength, CheapCamera()),
    ]
