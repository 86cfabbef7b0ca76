"""Picture files: the upright size without decoding, and the pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edge.errors import ConfigError, SourceError
from edge.types import RgbPicture
from edge.vision.image_file import read_picture

_ORIENTATION = 0x0112  # EXIF tag; 5..8 lie on their side
_DARK = 1 << 14  # a quarter of the range of 16 bits
_PNG_DEPTH = 24  # byte that holds the bits of a channel
_SIDEWAYS = frozenset({5, 6, 7, 8})


def size_wh(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the header alone.

    Raises:
        ConfigError: It is missing, or not a picture.
    """
    with _open(path, "is not a readable picture") as picture:
        width, height = picture.size
        sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def read(path: Path) -> RgbPicture:
    """Read the picture, upright.

    Raises:
        ConfigError: It is missing, or not a complete picture.
    """
    try:
        return read_picture(path)
    except SourceError as error:
        raise ConfigError(f"{error.problem}: replace the picture or drop it.", file=path) from error


def verify(path: Path) -> None:
    """Decode the file strictly, while OpenCV fills in what a truncated file lacks.

    Raises:
        ConfigError: It is missing, broken or truncated.
    """
    with _open(path, "picture is broken or truncated") as picture:
        picture.load()


def describe_dark(path: Path) -> str:
    """What is wrong with a picture of 16 bits whose camera has fewer; empty if nothing is.

    Raises:
        ConfigError: It is missing, broken or truncated.
    """
    with _open(path, "picture is broken or truncated") as picture:
        deep = picture.mode.startswith("I")
    if not deep and path.suffix.lower() == ".png":  # Pillow reads colors of 16 bits as 8
        with path.open("rb") as file:
            deep = file.read(_PNG_DEPTH + 1)[_PNG_DEPTH:] == b"\x10"
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if deep else None
    brightest = 0 if pixels is None or pixels.dtype != np.uint16 else pixels.max()
    if not 0 < brightest < _DARK:
        return ""
    bits = int(brightest).bit_length()
    return (
        f"This picture of 16 bits uses {bits} of them and is read nearly black: "
        "scale it to the full range."
    )


@contextmanager
def _open(path: Path, problem: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd but readable metadata
            with Image.open(path) as picture:
                yield picture
    except FileNotFoundError as error:
        raise ConfigError(
            "This picture does not exist: restore it or drop it.", file=path
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"This {problem} ({error}): replace it or drop it.", file=path) from error
