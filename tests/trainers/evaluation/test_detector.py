"""Examinations: objects are shown at the size that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.types import Faces, RgbPicture
from edge.vision import boxes
from tests.support.drawn_data import DOTS, drawn_dataset, face, find_dot
from trainers.augment.augment import FILL
from trainers.evaluation.detector import evaluate_small_faces, shrink_object


@pytest.mark.parametrize(
    ("size_wh", "longest_px", "input_wh"),
    [
        ((160, 120), 64, (96, 64)),  # a part of the picture
        ((160, 120), 90, (320, 320)),  # gray around it
        ((200, 60), 96, (64, 128)),  # cut on one side, gray on the other
    ],
)
def test_a_face_is_shown_as_long_as_asked_and_its_box_lies_around_it(size_wh, longest_px, input_wh):
    sample = face(2, size_wh)
    picture, box = shrink_object(sample, 0, longest_px, input_wh)
    assert picture.size_wh == input_wh
    assert max(box[2:] - box[:2]) == pytest.approx(longest_px, abs=1)
    shown = boxes.clip(box[None], input_wh)[0]
    nose = find_dot(picture.rgb, DOTS[2])
    assert nose is not None
    assert (nose > shown[:2]).all()
    assert (nose < shown[2:]).all()


def test_a_face_is_never_enlarged_and_nothing_but_grey_is_beyond_the_picture():
    sample = face(2, (64, 48))
    picture, box = shrink_object(sample, 0, 1000, (128, 96))
    np.testing.assert_allclose(
        box[2:] - box[:2], sample.xyxy[0, 2:] - sample.xyxy[0, :2], rtol=1e-5
    )
    x, y = np.round(box[:2] - sample.xyxy[0, :2]).astype(int)
    np.testing.assert_array_equal(picture.rgb[y : y + 48, x : x + 64], sample.image)
    rest = picture.rgb.copy()
    rest[y : y + 48, x : x + 64] = FILL
    assert (rest == FILL).all()


def test_recall_of_small_faces_counts_what_is_found_at_that_size(tmp_path: Path):
    dataset = drawn_dataset(tmp_path, 6)
    answers = [shrink_object(e.load(), 0, 32, (64, 64))[1] for e in dataset.examples]
    asked = []

    def ask(picture: RgbPicture) -> Faces:
        box = answers[len(asked)]
        asked.append(picture.size_wh)
        score = np.float32([0.9 if len(asked) % 3 else 0.2])  # two of three are sure
        points, zeros = np.zeros((1, 5, 2), np.float32), np.zeros(1, np.float32)
        return Faces(box[None], score, points, np.int32([-1]), zeros)

    examined = evaluate_small_faces(dataset, ask, 32, (64, 64))
    (figure,) = examined.figures.values()
    assert figure.value == pytest.approx(2 / 3)
    assert figure.n == 6
    assert asked == [(64, 64)] * 6
