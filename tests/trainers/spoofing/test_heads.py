"""Heads that turn, made of one picture: where a point of the face goes, and what clips become."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.support.drawn_data import write_example
from trainers.data.dataset import Dataset, Sample
from trainers.spoofing.clips import LiveFaces
from trainers.spoofing.heads import Photograph, Pose, film_turning

POINTS = np.array([[130, 100], [190, 100], [160, 135], [138, 165], [182, 165]], np.float32)
BOX = np.array([110, 60, 210, 195], np.float32)


def draw(dot=None):
    """A gray picture of 320 by 240 with a white dot."""
    rgb = np.full((240, 320, 3), 90, np.uint8)
    if dot is not None:
        cv2.circle(rgb, tuple(int(v) for v in dot), 3, (255, 255, 255), -1)
    return rgb


def find_dot(rgb):
    y, x = np.nonzero(rgb.astype(int).sum(2) > 500)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize("pose", [Pose(), Pose(yaw=15), Pose(yaw=-10, pitch=8), Pose(5, -5, 1.2)])
@pytest.mark.parametrize("point", POINTS.tolist())
def test_a_point_is_drawn_where_it_is_said_to_go(pose, point):
    photo = Photograph(draw(point), POINTS, (320, 240), 60)
    said = photo.place(np.array([point]), pose)[0]
    assert np.abs(find_dot(photo.head(pose)) - said).max() < 2.5


def test_the_box_goes_with_the_face():
    images, xyxy = film_turning(draw(POINTS[2]), BOX, POINTS, 12, np.random.default_rng(0))
    assert len(images) == len(xyxy) == 12
    np.testing.assert_allclose(xyxy[:, 2:] - xyxy[:, :2], np.tile([100, 135], (12, 1)), rtol=1e-5)
    nose = np.array([find_dot(image) for image in images])
    center = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    assert np.ptp(nose[:, 0]) > 5  # it did turn
    assert np.corrcoef(nose[:, 0], center[:, 0])[0, 1] > 0.99
    assert np.abs(nose - center).max() < 25


def example(folder, name, *, points=True):
    landmarks = POINTS[None] if points else np.full((1, 5, 2), np.nan, np.float32)
    sample = Sample(
        draw(POINTS[2]), BOX[None], np.zeros(1, np.int32), landmarks, np.ones(1, np.float32), name,
        "ann",
    )  # fmt: skip
    return replace(write_example(folder, name, sample), group="ann")


def test_a_clip_is_of_one_picture_whose_head_turns(tmp_path):
    rows = tuple(example(tmp_path, f"ann_{n}") for n in range(3))
    people = LiveFaces(Dataset(("face",), rows), turns_heads=True)
    one, same = (people.clip(1, 5, np.random.default_rng(7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.images, same.images, strict=True))
    assert len({image.tobytes() for image in one.images}) == 5
    assert len(people.clip(1, 1, np.random.default_rng(7)).images) == 1


def test_a_face_without_points_is_shown_as_it_was_recorded(tmp_path):
    rows = tuple(example(tmp_path, f"ann_{n}", points=False) for n in range(3))
    people = LiveFaces(Dataset(("face",), rows), turns_heads=True)
    clip = people.clip(0, 3, np.random.default_rng(7))
    assert all((image == draw(POINTS[2])).all() for image in clip.images)
