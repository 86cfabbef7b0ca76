"""Canvases, the teacher's labels beside a person's, figures of a face finder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.types import Faces
from tests.support.drawn_data import DOTS, drawn_dataset, face
from trainers import faces
from trainers.augment.augment import bind
from trainers.augment.face_mosaic import FaceMosaic
from trainers.data.dataset import Dataset, Sample


def found(*rows: tuple[float, ...], score: float = 0.9) -> Faces:
    xyxy = np.float32(rows).reshape(-1, 4)
    points = np.repeat((xyxy[:, None, :2] + xyxy[:, None, 2:]) / 2, 5, 1)
    n = len(xyxy)
    return Faces(
        xyxy, np.full(n, score, np.float32), points.astype(np.float32),
        np.full(n, -1, np.int32), np.zeros(n, np.float32),
    )  # fmt: skip


def canvas(seed: int, **options: object) -> Sample:
    def draw(rng: np.random.Generator) -> Sample:
        drawn = face(int(rng.integers(100)))
        return drawn if rng.random() < 0.7 else drawn[:0]

    (change,) = bind([FaceMosaic(128, **options)], draw)
    return change(face(seed), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(25))
def test_a_canvas_is_square_and_its_boxes_lie_inside(seed):
    made = canvas(seed)
    assert made.size_wh == (128, 128)
    assert (made.xyxy >= 0).all()
    assert (made.xyxy <= 128).all()
    assert len(made.xyxy) == len(made.landmarks) == len(made.weight) == len(made.class_id)


def test_landmarks_follow_their_pixels():
    right = seen = 0
    for seed in range(60):
        made = canvas(seed, mosaic=0.0)
        # dots of smaller faces blur away
        sure = made[np.sqrt((made.xyxy[:, 2:] - made.xyxy[:, :2]).prod(1)) > 40]
        for points in sure.landmarks:
            inside = np.isfinite(points).all() and (points > 3).all() and (points < 125).all()
            if inside:
                seen += 1
                right += any(dots_lie_at(made, points, DOTS[order]) for order in MIRRORED)
    assert seen > 10
    assert right == seen


MIRRORED = ([0, 1, 2, 3, 4], [1, 0, 2, 4, 3])  # a mirrored left eye is the right one


def dots_lie_at(made: Sample, points: np.ndarray, colors: np.ndarray) -> bool:
    near = [made.image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] for x, y in points]
    away = [np.abs(n.astype(int) - c).sum(-1).min() for n, c in zip(near, colors, strict=True)]
    return max(away) < 250


def test_sizes_are_spread_over_octaves():
    made = [canvas(s, mosaic=0.0).xyxy for s in range(60)]
    sizes = [np.sqrt((xyxy[:, 2:] - xyxy[:, :2]).prod(1)) for xyxy in made]
    sizes = np.concatenate(sizes)
    assert (sizes < 24).any()
    assert (sizes > 60).any()


def test_mosaics_hold_several_faces():
    assert max(len(canvas(s, mosaic=1.0)) for s in range(20)) >= 3


def test_a_picture_without_a_face_stays_without(tmp_path):
    (change,) = bind([FaceMosaic(64)], lambda rng: face(1))
    assert len(change(face(0)[:0], np.random.default_rng(0))) == 0


def job(predict: object = None) -> faces.FaceJob:
    return faces.FaceJob(data=(Path(),), out=Path(), predict=predict)


def test_the_teacher_blends_into_labels_and_adds_the_faces_nobody_labelled(tmp_path):
    dataset = drawn_dataset(tmp_path, 1)
    label = dataset.examples[0]
    shifted = label.xyxy[0] + np.float32([4, 0, 4, 0])
    asked = found(tuple(shifted), (0, 0, 9, 9))
    (blended,) = faces.blend_teacher_labels(dataset, job(lambda picture: asked)).examples
    np.testing.assert_allclose(
        blended.xyxy, [label.xyxy[0] + [2, 0, 2, 0], [0, 0, 9, 9]], atol=1e-4
    )
    np.testing.assert_allclose(
        blended.landmarks[0], (label.landmarks[0] + asked.landmarks[0]) / 2, atol=1e-4
    )


def test_a_doubtful_face_of_the_teacher_is_half_a_label(tmp_path):
    dataset = drawn_dataset(tmp_path, 1)
    asked = found((0, 0, 9, 9), score=0.5)
    (blended,) = faces.blend_teacher_labels(dataset, job(lambda picture: asked)).examples
    np.testing.assert_allclose(blended.weight, [1, 0.5])


def test_figures_of_a_face_finder(tmp_path):
    dataset = drawn_dataset(tmp_path, 3)
    first, second, third = dataset.examples
    held = Dataset(("face",), (first, second, third[:0]))
    figures = faces.score_faces(
        held,
        [found(tuple(first.xyxy[0]), (0, 0, 5, 5)), found(), found((1, 1, 9, 9), (20, 20, 40, 40))],
    )
    assert figures["recall"] == 0.5
    assert figures["precision"] == 0.5
    assert figures["false_per_picture"] == 2
    assert figures["points"] > 0
