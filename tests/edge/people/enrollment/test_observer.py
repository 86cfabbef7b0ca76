"""The observer: the points of a look are the mean of looks at the same face."""

import numpy as np

from edge.people.enrollment.observer import EnrollmentObserver
from edge.people.liveness.score_fusion import LivenessPolicy
from edge.types import Faces, Frame, RgbPicture

SUBJECT = np.float32([[100, 80, 160, 160]])
POINTS = np.float32([[[115, 110], [145, 110], [130, 125], [118, 142], [142, 142]]])
DEMANDS = LivenessPolicy(0.7, 0.3, 10, motion=True)


def faces(xyxy: np.ndarray, points: np.ndarray) -> Faces:
    return Faces(xyxy, np.float32([0.9]), points, np.int32([-1]), np.float32([0]))


class Finder:
    """Finds the subject in the picture and, in every cut-out, what ``shift`` says."""

    name, sha256 = "finder", "0" * 64

    def __init__(self, shift: float) -> None:
        self._shift = shift

    def find(self, frames):
        if len(frames) == 1:
            return [faces(SUBJECT, POINTS)]
        found = []
        for frame in frames:
            width, height = frame.size_wh
            middle = np.float32([width / 2, height / 2])
            at = (POINTS - [130, 120]) + middle + np.float32([self._shift, 0])
            box = (SUBJECT - [130, 120, 130, 120]) + np.tile(middle, 2) + self._shift
            found.append(faces(box.astype(np.float32), at.astype(np.float32)))
        return found


def points_seen(shift: float) -> np.ndarray:
    frame = Frame("door", 1, 0, 0.0, 0.0, RgbPicture(np.zeros((240, 320, 3), np.uint8)))
    observer = EnrollmentObserver(Finder(shift), None, None, DEMANDS)
    return observer._refine(frame, SUBJECT[0], POINTS[0])


def test_points_are_the_mean_of_looks_at_several_sizes():
    moved = points_seen(5) - POINTS[0]
    np.testing.assert_allclose(moved, np.float32([[4, 0]] * 5), atol=0.6)  # four of five looks


def test_the_points_of_another_face_in_a_cut_out_do_not_count():
    np.testing.assert_array_equal(points_seen(40), POINTS[0])
