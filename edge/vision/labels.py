"""Labels: from the class names in a configuration to a model's class ids."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge.errors import ConfigError
from edge.types import Bool


def class_id(label: str, classes: tuple[str, ...], camera: str, key: str) -> int:
    """The class id of a label.

    Raises:
        ConfigError: The model does not know it; names camera, key and the known labels.
    """
    if label in classes:
        return classes.index(label)
    raise ConfigError(
        f"the model does not know the label {label!r}: use one of {', '.join(classes)}",
        camera=camera,
        key=key,
    )


def class_mask(labels: Iterable[str], classes: tuple[str, ...], camera: str, key: str) -> Bool:
    """``(C,)``: true for the labels named; no labels mean all.

    Raises:
        ConfigError: The model does not know one; names camera, key and the known labels.
    """
    ids = [class_id(label, classes, camera, key) for label in labels]
    if not ids:
        return np.ones(len(classes), np.bool_)
    mask = np.zeros(len(classes), np.bool_)
    mask[ids] = True
    return mask
