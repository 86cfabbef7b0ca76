"""Augmentation presets of the detector, the face detector and the classifier.

Each is a list of augmentations with names, of which a run may change or leave out some: see
`change`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from edge.errors import ConfigError
from trainers.augment.augment import Augment, Sometimes
from trainers.augment.color import CheapCamera, ColorShift, Night, PcaColor
from trainers.augment.conditions import CONDITIONS, Under
from trainers.augment.face_mosaic import FaceMosaic
from trainers.augment.geometry import Affine, Crop, Mirror, Warp
from trainers.augment.mixing import Mosaic

Changes = Mapping[str, Mapping[str, Any]]
NONE: Changes = MappingProxyType({})
CHANCE = "chance"  # of an augmentation, beside its own values


def name_detector_augments(strength: float = 1.0) -> dict[str, Sometimes]:
    """The augmentations of an object detector; ``strength`` 0 only mirrors."""
    some = 1.0 if strength else 0.0
    return {
        "mosaic": Sometimes(0.5 * strength, Mosaic()),
        "crop": Sometimes(0.5 * some, Crop()),
        "mirror": Sometimes(0.5, Mirror(1.0)),
        "affine": Sometimes(0.5 * strength, Affine()),
        "warp": Sometimes(0.05 * strength, Warp()),
        "color": Sometimes(0.7 * some, ColorShift()),
        "pca": Sometimes(0.3 * some, PcaColor()),
        "night": Sometimes(0.1 * strength, Night()),
        "camera": Sometimes(0.4 * strength, CheapCamera(0.25)),
        **_name_conditions(),
    }


def name_face_augments(size_px: int, strength: float = 1.0) -> dict[str, Sometimes]:
    """The augmentations of a face detector: mosaics of faces of every size, then color.

    The mosaics have the size of the network's input; ``strength`` is that of the camera artifacts.
    """
    return {
        "faces": Sometimes(1.0, FaceMosaic(size_px)),
        "color": Sometimes(0.7, ColorShift()),
        "pca": Sometimes(0.3, PcaColor()),
        "night": Sometimes(0.1 * strength, Night()),
        "camera": Sometimes(0.4 * strength, CheapCamera()),
        **_name_conditions(),
    }


def name_class_augments(strength: float = 1.0, *, mirror: bool = True) -> dict[str, Sometimes]:
    """The augmentations of a classifier; ``mirror`` is wrong where left and right are classes."""
    some = 1.0 if strength else 0.0
    return {
        "mirror": Sometimes(0.5 * mirror, Mirror(1.0)),
        "affine": Sometimes(0.7 * strength, Affine(8.0, 4.0, 1.0, 1.0, 0.0)),
        "color": Sometimes(0.7 * some, ColorShift()),
        "pca": Sometimes(0.3 * some, PcaColor()),
        "night": Sometimes(0.1 * strength, Night()),
        "camera": Sometimes(0.4 * strength, CheapCamera(0.25)),
        **_name_conditions(),
    }


def _name_conditions() -> dict[str, Sometimes]:
    """The conditions of `edge-train evaluate --under`, off until a run wants them.

    Their night is called ``dark``, beside ``night``, which lights lamps and darkens by a formula.
    """
    return {"dark" if name == "night" else name: Sometimes(0.0, Under(name)) for name in CONDITIONS}


def name_landmark_augments(strength: float = 1.0) -> dict[str, Sometimes]:
    """The augmentations of 68 points, which move nothing: faces are aligned wrongly and mirrored.

    See `trainers.input.aligned_faces`.
    """
    named = name_class_augments(strength, mirror=False)
    return {name: named[name] for name in ("color", "pca", "night", "camera")}


def detector_augments(strength: float = 1.0, changes: Changes = NONE) -> list[Augment]:
    """Those of `name_detector_augments` that happen, changed as a run wants them."""
    return choose(change(name_detector_augments(strength), changes))


def face_augments(size_px: int, strength: float = 1.0, changes: Changes = NONE) -> list[Augment]:
    """Those of `name_face_augments` that happen, changed as a run wants them."""
    return choose(change(name_face_augments(size_px, strength), changes))


def class_augments(
    strength: float = 1.0, changes: Changes = NONE, *, mirror: bool = True
) -> list[Augment]:
    """Those of `name_class_augments` that happen, changed as a run wants them."""
    return choose(change(name_class_augments(strength, mirror=mirror), changes))


def landmark_augments(strength: float = 1.0, changes: Changes = NONE) -> list[Augment]:
    """Those of `name_landmark_augments` that happen, changed as a run wants them."""
    return choose(change(name_landmark_augments(strength), changes))


def choose(named: Mapping[str, Sometimes]) -> list[Augment]:
    """Those that happen at all, in order."""
    return [each for each in named.values() if each.chance]


def change(named: Mapping[str, Sometimes], changes: Changes) -> dict[str, Sometimes]:
    """A preset with other chances, or other values, of what it holds.

    Args:
        named: A preset.
        changes: Values by name of the augmentation: ``chance``, 0 to 1, and the attributes of its
            class that are numbers, such as ``{"night": {"chance": 0.5, "darkest": 0.1}}``.

    Raises:
        ConfigError: An augmentation or value has no such name, or a value cannot be.
    """
    changed = dict(named)
    for name, values in changes.items():
        if name not in named:
            raise ConfigError(
                f"augment.{name}: there is no such augmentation here, only {', '.join(named)}"
            )
        changed[name] = _change_one(f"augment.{name}", named[name], values)
    return changed


def _change_one(where: str, augment: Sometimes, values: Mapping[str, Any]) -> Sometimes:
    inner: Any = augment.change  # a dataclass
    own = {
        field.name for field in fields(inner) if isinstance(getattr(inner, field.name), int | float)
    }
    for name, value in values.items():
        if name != CHANCE and name not in own:
            known = ", ".join([CHANCE, *sorted(own - {CHANCE})])
            raise ConfigError(f"{where}.{name}: there is no such value, only {known}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 <= value < float("inf")):
            raise ConfigError(f"{where}.{name} must be a number from 0, got {value!r}")
    chance = values.get(CHANCE, augment.chance)
    if chance > 1:
        raise ConfigError(f"{where}.chance must be at most 1, got {chance}")
    others = {
        name: type(getattr(inner, name))(value) for name, value in values.items() if name != CHANCE
    }
    return Sometimes(float(chance), replace(inner, **others))
