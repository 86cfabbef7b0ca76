"""Picture files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.errors import SourceError
from edge.input_file import MIB, read_input
from edge.types import RgbPicture

_MAX_BYTES = 512 * MIB


def read_picture(path: Path | str) -> RgbPicture:
    """Read a JPEG, PNG or any other file that OpenCV decodes, upright by its EXIF orientation.

    Raises:
        SourceError: The file cannot be read or decoded.
    """
    try:
        encoded = np.frombuffer(read_input(Path(path), _MAX_BYTES), np.uint8)
    except OSError as error:
        raise SourceError(f"{error.strerror}", file=path) from error
    try:
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error as error:  # absurd dimensions, for example
        why = f"OpenCV refuses the picture: {error.err}"
        if "IO_MAX_IMAGE_PIXELS" in error.err:
            why = "more pixels than are read at most: make the picture smaller"
        raise SourceError(why, file=path) from error
    if bgr is None:
        raise SourceError("the file is not a picture that OpenCV can decode", file=path)
    return RgbPicture(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8))
