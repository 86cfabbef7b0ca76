"""Stored weights: Keras's archives (.keras) and numpy's (.npz), read whole or refused.

A file that was truncated fails in many ways, which become one error here.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from edge.errors import ConfigError, ModelError

_BROKEN = (OSError, ValueError, KeyError, EOFError, BadZipFile)


def read_network(path: Path, remedy: str) -> keras.Model:
    """A network as Keras stored it, not compiled; ``remedy`` ends the message of an error.

    Raises:
        ModelError: The file is missing, broken or truncated.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except _BROKEN as error:
        raise ModelError(
            f"This file cannot be read as a Keras model ({error}): {remedy}.", file=path
        ) from error


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, in stored order; ``remedy`` ends the message of an error.

    Raises:
        ConfigError: The file is missing, broken or truncated.
    """
    try:
        with path.open("rb") as file, np.load(file) as saved:  # numpy leaves broken ones open
            return dict(saved)
    except _BROKEN as error:
        raise ConfigError(f"This file cannot be read ({error}): {remedy}.", file=path) from error
