"""A picture's file: its upright size without decoding it, and its pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from edge.errors import ConfigError, SourceError
from edge.types import RgbPicture
from edge.vision.image_file import read_picture

_ORIENTATION = 0x0112  # EXIF tag; 5..8 lie on their side
_SIDEWAYS = frozenset({5, 6, 7, 8})


def size_wh(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the header alone.

    Raises:
        ConfigError: missing, or not a picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow remarks on odd but readable metadata
            with Image.open(path) as picture:
                width, height = picture.size
                sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: restore the picture or drop it") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path} is not a readable picture: replace it or drop it") from error
    return (height, width) if sideways else (width, height)


def read(path: Path) -> RgbPicture:
    """The picture, upright.

    Raises:
        ConfigError: missing, or not a whole picture.
    """
    try:
        return read_picture(path)
    except SourceError as error:
        raise ConfigError(f"{error}: replace the picture or drop it") from error


def verify(path: Path) -> None:
    """Decode the file strictly: OpenCV fills in what a cut-off file lacks, this does not.

    Raises:
        ConfigError: missing, broken or cut off.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                picture.load()
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: restore the picture or drop it") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(
            f"{path} is broken or cut off ({error}): replace it or drop it"
        ) from error
