"""Enrollment without a command line: photos in, results and templates out."""

import cv2
import numpy as np
import pytest

from edge.people.enrollment.challenge import ChallengeError
from edge.people.enrollment.enrollment import Enrollment, compute_duplicate_threshold
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.recognition.face_quality import QualityLimits
from edge.types import Faces
from edge.vision.face_crops import FACE_POINTS
from tests.support.gallery import EMBEDDER, faces, open_new

ANY = QualityLimits(0, 90, 90, 90, 0, 0, 255, 0)


class Finder:
    """Finds as many faces as it is told, one over the other."""

    name, sha256 = "finder", "0" * 64

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def find(self, frames):
        points = np.repeat(FACE_POINTS[None], self.count, 0)
        box = np.tile(np.float32([0, 0, 112, 112]), (self.count, 1))
        ones = np.ones(self.count, np.float32)
        none = np.full(self.count, -1, np.int32)
        return [Faces(box, ones, points, none, ones * 0) for _ in frames]


class OneFace:
    """An embedder for which all faces are one person's."""

    name, sha256, dimension, threshold = EMBEDDER.name, EMBEDDER.sha256, EMBEDDER.dimension, 0.5

    resampling = "halved_bilinear"

    def embed(self, crops):
        return np.repeat(faces(1), len(crops), 0)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "ann.png"
    texture = np.random.default_rng(0).integers(60, 200, (112, 112, 3), np.uint8)
    cv2.imwrite(str(path), texture)
    return path


@pytest.fixture
def gallery(tmp_path):
    with open_new(tmp_path / "g.db") as opened:
        yield opened


def enrollment(gallery, *, count=1, allow_duplicates=False):
    return Enrollment(Finder(count), OneFace(), gallery, None, False, allow_duplicates)


def test_photos_are_enrolled_and_the_others_are_refused_with_a_reason(gallery, photo, tmp_path):
    result = enrollment(gallery).add_photos("Ann", [photo, tmp_path / "none.png"])
    assert (result.name, result.used) == ("Ann", 1)
    (refused,) = result.refused
    assert (refused.photo, refused.reason) == (
        str(tmp_path / "none.png"), "No such file or directory",
    )  # fmt: skip
    assert gallery.find("ann").person.details.templates == 1


def test_another_persons_face_is_refused_unless_duplicates_are_allowed(gallery, photo):
    enrollment(gallery).add_photos("Ann", [photo])
    result = enrollment(gallery).add_photos("Bob", [photo])
    assert result.used == 0
    assert "near-duplicate of Ann" in result.refused[0].reason
    with pytest.raises(ChallengeError, match="near-duplicate of Ann"):
        enrollment(gallery).add_live("Bob", faces(1))
    assert enrollment(gallery, allow_duplicates=True).add_live("Bob", faces(1)).used == 1


@pytest.mark.parametrize(("count", "says"), [(0, "no face"), (2, "two faces"), (5, "5 faces")])
def test_a_photo_must_show_one_face(photo, count, says):
    with pytest.raises(PhotoError, match=says) as refused:
        read_face(Finder(count), photo, ANY)
    assert refused.value.file == photo


def test_the_threshold_of_duplicates_lies_above_that_of_one_person():
    assert compute_duplicate_threshold(0.5) == pytest.approx(0.7)
