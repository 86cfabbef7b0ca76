"""Face photos: the one good face in a picture file, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import EdgeError, SourceError
from edge.people.enrollment.observer import OTHER_FACE
from edge.people.recognition.close_up import ENROLL_SCALES, FoundFace, refine_landmarks
from edge.people.recognition.face_quality import ENROLL, QualityLimits, assess
from edge.ports import FaceFinder
from edge.types import U8, Faces, Frame, Picture, Resampling, RgbPicture
from edge.vision.face_crops import align_face
from edge.vision.image_file import read_picture

BORDER = 0.5  # of the picture's size, added when no face is found: it may fill the picture

_HEIC = frozenset({".heic", ".heif"})


class PhotoError(EdgeError):
    """A photo cannot be used; names it as `file`."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True, slots=True, eq=False)
class FacePhoto:
    """The face in a photo: ``(112, 112, 3)`` uint8 RGB, aligned; quality 0..1."""

    path: Path
    crop: U8
    quality: float


def read_face(
    finder: FaceFinder,
    path: Path,
    limits: QualityLimits = ENROLL,
    resampling: Resampling = "halved_bilinear",
) -> FacePhoto:
    """Read the one face in a picture file, aligned as an embedder of this resampling takes it.

    Raises:
        PhotoError: The file is unreadable, or shows no face, several, or one of poor quality.
    """
    if path.suffix.lower() in _HEIC:
        raise PhotoError("HEIC cannot be read here: convert it to JPEG", file=path)
    try:
        picture = read_picture(path)
    except SourceError as error:
        raise PhotoError(error.problem, file=path) from error
    faces = _find(finder, picture)
    if not len(faces):
        picture = _add_border(picture)
        faces = _find(finder, picture)
    if not len(faces):
        raise PhotoError("no face", file=path)
    height = faces.xyxy[:, 3] - faces.xyxy[:, 1]
    largest = int(height.argmax())
    if (count := int(np.sum(height >= OTHER_FACE * height[largest]))) > 1:
        raise PhotoError(f"{_NUMBERS.get(count, count)} faces, must be one", file=path)
    face = FoundFace(_frame(picture), faces.xyxy[largest], faces.landmarks[largest])
    [landmarks] = refine_landmarks(finder, [face], ENROLL_SCALES)
    crop = align_face(picture, landmarks, resampling=resampling)
    quality = assess(landmarks[None], crop[None])
    if issues := quality.find_issues(0, limits):
        raise PhotoError(", ".join(issue.text for issue in issues), file=path)
    return FacePhoto(path, crop, float(quality.value[0]))


_NUMBERS = {2: "two", 3: "three", 4: "four"}


def _find(finder: FaceFinder, picture: Picture) -> Faces:
    return finder.find([_frame(picture)])[0]


def _frame(picture: Picture) -> Frame:
    return Frame("", 0, 0, 0.0, 0.0, picture)


def _add_border(picture: RgbPicture) -> RgbPicture:
    height, width = (round(side * BORDER / 2) for side in picture.rgb.shape[:2])
    return RgbPicture(np.pad(picture.rgb, ((height, height), (width, width), (0, 0))))
