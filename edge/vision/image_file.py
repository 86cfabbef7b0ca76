"""Picture files as pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.errors import SourceError
from edge.types import RgbPicture


def read_picture(path: Path | str) -> RgbPicture:
    """Read a JPEG, PNG or whatever else OpenCV knows, upright by its EXIF orientation.

    Raises:
        SourceError: the file cannot be read or is no picture. Names the file.
    """
    try:
        coded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    try:
        rgb = cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB) if coded.size else None
    except cv2.error as error:  # of absurd dimensions
        raise SourceError(f"{path} is a picture that OpenCV refuses: {error.err}") from error
    if rgb is None:
        raise SourceError(f"{path} is no picture")
    return RgbPicture(np.asarray(rgb, np.uint8))
