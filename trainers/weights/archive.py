"""Stored weights: Keras's archives (.keras) and numpy's (.npz), read whole or refused.

A file that was truncated or tampered with fails in any way, which becomes one error here.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import keras
import numpy as np

from edge.errors import ConfigError, ModelError, translate_unexpected
from edge.input_file import MIB

_MAX_REASON = 300


def read_network(path: Path, remedy: str) -> keras.Model:
    """A network as Keras stored it, not compiled; ``remedy`` ends the message of an error.

    Raises:
        ModelError: The file is missing, broken or truncated.
    """
    with translate_unexpected(
        lambda error: ModelError(
            f"This file cannot be read as a Keras model ({_explain(error)}): {remedy}.", file=path
        )
    ):
        _check_archive(path)
        network = keras.saving.load_model(path, compile=False)
        if not isinstance(network, keras.Model):
            raise TypeError(f"it holds a {type(network).__name__}")
        return network


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, in stored order; ``remedy`` ends the message of an error.

    Raises:
        ConfigError: The file is missing, broken or truncated.
    """
    with translate_unexpected(
        lambda error: ConfigError(
            f"This file cannot be read ({_explain(error)}): {remedy}.", file=path
        )
    ):
        _check_archive(path)
        with path.open("rb") as file, np.load(file) as saved:  # numpy leaves broken ones open
            return dict(saved)


def _check_archive(path: Path) -> None:
    """Refuse what is no archive, or holds far more than the file: both libraries do not compress.

    Raises:
        OSError: It is no regular file, or cannot be read.
        ValueError: It would fill the memory.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    with ZipFile(path) as archive:
        unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    if unpacked_bytes > 2 * path.stat().st_size + 64 * MIB:
        raise ValueError(f"unpacked it has {unpacked_bytes / MIB:.0f} MiB, far more than the file")


def _explain(error: Exception) -> str:
    """What a library says, on one line of bounded length."""
    return " ".join(str(error).split())[:_MAX_REASON] or type(error).__name__
