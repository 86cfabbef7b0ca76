"""Close-ups: the landmarks of a face are found again where it fills the finder's input."""

import itertools

import cv2
import numpy as np
import pytest

from edge import plugins
from edge.config import Recognition
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.people.recognition.close_up import (
    ENROLL_SCALES,
    LOOK_SCALES,
    FoundFace,
    refine_landmarks,
)
from edge.people.recognition.recognizer import Recognizer
from edge.types import Faces, Frame, FrameResult, RgbPicture, Tracks
from tests.support.recognition import AXES, ObedientEmbedder, people
from trainers.data.read import read_face_dataset

SUBJECT = np.float32([[120, 100, 180, 180]])
POINTS = np.float32([[[135, 130], [165, 130], [150, 145], [138, 162], [162, 162]]])
CENTER = np.float32([150, 140])


def make_faces(xyxy: np.ndarray, points: np.ndarray) -> Faces:
    return Faces(
        xyxy.astype(np.float32), np.float32([0.9]), points.astype(np.float32), np.int32([-1]),
        np.float32([0]),
    )  # fmt: skip


def make_frame(rgb: np.ndarray) -> Frame:
    return Frame("door", 1, 0, 0.0, 0.0, RgbPicture(rgb))


class Finder:
    """Finds the subject shifted by what is said of each cut-out; nothing where that is None."""

    name, sha256 = "finder", "0" * 64

    def __init__(self, *shifts: float | None) -> None:
        self._shifts = shifts
        self.sizes = []

    def find(self, frames):
        self.sizes += [frame.size_wh for frame in frames]
        return [self._find(*pair) for pair in zip(frames, self._shifts, strict=True)]

    def _find(self, frame: Frame, shift: float | None) -> Faces:
        if shift is None:
            return Faces.empty()
        moved = np.float32(frame.size_wh) / 2 - CENTER + [shift, 0]
        return make_faces(SUBJECT + np.tile(moved, 2), POINTS + moved)


def see(*shifts: float | None, scales=ENROLL_SCALES) -> np.ndarray:
    face = FoundFace(make_frame(np.zeros((360, 400, 3), np.uint8)), SUBJECT[0], POINTS[0])
    (points,) = refine_landmarks(Finder(*shifts), [face], scales)
    return points - POINTS[0]


def test_landmarks_are_the_mean_of_the_close_ups():
    assert see(2, 4, 6, 8) == pytest.approx(np.float32([[5, 0]] * 5), abs=0.6)
    assert see(2, None, None, 4) == pytest.approx(np.float32([[3, 0]] * 5), abs=0.6)


def test_without_a_close_up_that_shows_the_face_they_stay_as_they_were():
    assert (see(None, None, None, None) == 0).all()
    assert (see(40, 40, 40, 40) == 0).all(), "the points of another face"


def test_several_faces_are_looked_at_in_one_batch_each_in_its_own_picture():
    pictures = [np.zeros((360, 400, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)]
    found = [FoundFace(make_frame(rgb), SUBJECT[0], POINTS[0]) for rgb in pictures]
    finder = Finder(3, -3)
    points = refine_landmarks(finder, found, (2.0,))
    assert points.shape == (2, 5, 2)
    assert points.dtype == np.float32
    assert points[:, 0, 0] - POINTS[0, 0, 0] == pytest.approx([3, -3], abs=0.6)
    assert finder.sizes == [(160, 160)] * 2


def test_no_faces_are_no_batch():
    assert refine_landmarks(Finder(), []).shape == (0, 5, 2)


def test_a_face_at_the_edge_is_cut_out_as_far_as_the_picture_goes():
    edge = SUBJECT[0] - np.float32([90, 70, 90, 70])
    face = FoundFace(make_frame(np.zeros((90, 90, 3), np.uint8)), edge, POINTS[0])
    (points,) = refine_landmarks(Finder(None), [face], (2.0,))
    assert (points == POINTS[0]).all()


class Glancing:
    """Finds a face that seems turned away at first, and in a close-up as it is."""

    name, sha256 = "glancing", "0" * 64

    def find(self, frames):
        middles = [np.float32(frame.size_wh) / 2 - CENTER for frame in frames]
        return [make_faces(SUBJECT + np.tile(m, 2), POINTS + m) for m in middles]


@pytest.mark.parametrize(("nose_px", "seen"), [(8, True), (60, False)])
def test_a_face_is_judged_by_its_close_up_unless_it_is_clearly_turned_away(nose_px, seen):
    rules = Recognition.model_validate(
        {"gallery": "g", "key_file": "k", "embedder": "e", "liveness": False,
         "require_liveness": False}
    )  # fmt: skip
    embedder = ObedientEmbedder(AXES[0])
    recognizer = Recognizer(rules, embedder, None, itertools.count(1), Glancing())
    recognizer.use(people(), 0.5)
    rgb = np.random.default_rng(0).integers(0, 200, (240, 320, 3), np.uint8)
    first = POINTS.copy()
    first[0, 2, 0] += nose_px  # as far as it is wrong
    result = FrameResult(make_frame(rgb), Tracks.empty(), (), make_faces(SUBJECT, first), ())
    recognizer.look([result])
    assert bool(embedder.asked) is seen


def test_small_faces_in_large_pictures_get_the_landmarks_of_their_labels(shared_data):
    """The shipped finder, 60 people before other pictures: eyes 30 pixels apart in 1280x720."""
    runtime = plugins.create("runtimes", {"kind": "onnx", "threads": 1})
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", get_zoo_folder()))
    data = read_face_dataset(shared_data / "ytf_dev")
    errors = []
    for number, example in enumerate(data.examples[::60]):
        if len(example) != 1 or not np.isfinite(example.landmarks).all():
            continue
        rgb, labeled = example.load().image, example.landmarks[0]
        shrink = min(30 / np.linalg.norm(labeled[1] - labeled[0]), 1.0)
        small = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        canvas = np.full((720, 1280, 3), 90, np.uint8)
        y, x = 40 + number % 7 * 50, 60 + number % 11 * 80
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small[: 720 - y, : 1280 - x]
        truth = labeled * shrink + [x, y]
        (faces,) = finder.find([make_frame(canvas)])
        if len(faces):
            row = int(faces.score.argmax())
            face = FoundFace(make_frame(canvas), faces.xyxy[row], faces.landmarks[row])
            refined = [face.landmarks, *(refine_landmarks(finder, [face], scales)[0]
                                         for scales in (LOOK_SCALES, ENROLL_SCALES))]  # fmt: skip
            eyes_px = np.linalg.norm(truth[1] - truth[0])
            errors.append([np.linalg.norm(p - truth, axis=1).mean() / eyes_px for p in refined])
    first, look, enroll = np.median(errors, axis=0)
    assert len(errors) > 30
    assert first > 0.15
    assert look < 0.11
    assert enroll < 0.11
