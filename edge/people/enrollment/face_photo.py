"""Photographs: the one good face in a picture file, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import EdgeError, SourceError
from edge.people.enrollment.observer import RIVAL
from edge.people.recognition.face_quality import ENROLL, Limits, assess
from edge.ports import FaceFinder
from edge.types import U8, Faces, Frame, Picture, RgbPicture
from edge.vision.face_crops import align_face
from edge.vision.image_file import read_picture

BORDER = 0.5  # of the picture's size, added where a face fills it and was not found


class PhotoError(EdgeError):
    """A photograph cannot be used; says why."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True, slots=True, eq=False)
class FacePhoto:
    """The face in a photograph.

    Attributes:
        path: the file.
        crop: ``(112, 112, 3)`` uint8 RGB, aligned.
        quality: in [0, 1].
    """

    path: Path
    crop: U8
    quality: float


def read_face(finder: FaceFinder, path: Path, limits: Limits = ENROLL) -> FacePhoto:
    """The one face in a picture file.

    Raises:
        PhotoError: unreadable, no face, two faces, or too poor a face.
    """
    try:
        picture = read_picture(path)
    except SourceError as error:
        raise PhotoError(str(error)) from error
    faces = _find(finder, picture)
    if not len(faces):
        picture = _with_border(picture)
        faces = _find(finder, picture)
    if not len(faces):
        raise PhotoError(f"{path}: no face")
    height = faces.xyxy[:, 3] - faces.xyxy[:, 1]
    largest = int(height.argmax())
    if (rivals := int(np.sum(height >= RIVAL * height[largest]))) > 1:
        raise PhotoError(f"{path}: {_NUMBERS.get(rivals, rivals)} faces, must be one")
    landmarks = faces.landmarks[largest]
    crop = align_face(picture, landmarks)
    quality = assess(landmarks[None], crop[None])
    if issues := quality.refusals(0, limits):
        raise PhotoError(f"{path}: {', '.join(issue.text for issue in issues)}")
    return FacePhoto(path, crop, float(quality.value[0]))


_NUMBERS = {2: "two", 3: "three", 4: "four"}


def _find(finder: FaceFinder, picture: Picture) -> Faces:
    return finder.find([Frame("", 0, 0, 0.0, 0.0, picture)])[0]


def _with_border(picture: RgbPicture) -> RgbPicture:
    height, width = (round(side * BORDER / 2) for side in picture.rgb.shape[:2])
    return RgbPicture(np.pad(picture.rgb, ((height, height), (width, width), (0, 0))))
