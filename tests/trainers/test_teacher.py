"""Teachers: models that label for us, and what a person labelled stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError
from edge.types import Detections, Faces, RgbPicture
from tests.trainers.drawn import drawn_dataset, face, plain_example, shared, write_example
from trainers.check import check
from trainers.data import Dataset
from trainers.reading import read_dataset
from trainers.teacher import Teacher, label_folder, merge, of_detector, of_faces, teach


def two_things(picture: RgbPicture) -> Detections:
    """A sure one on the left half, a doubtful one on the right half."""
    w, h = picture.size_wh
    return Detections(
        np.float32([[0, 0, w / 2, h], [w / 2, 0, w, h]]), np.float32([0.9, 0.4]), np.int32([0, 1])
    )


def test_hard_labels_are_the_sure_ones_and_soft_ones_carry_their_score(tmp_path: Path):
    write_example(tmp_path / "in", "a", face(0))
    hard = Teacher(two_things, ("cat", "dog"), score=0.5)
    assert label_folder(tmp_path / "in", tmp_path / "hard", hard) == 1
    (example,) = read_dataset(tmp_path / "hard").examples
    assert (example.class_id.tolist(), example.weight.tolist()) == ([0], [1.0])
    np.testing.assert_allclose(example.xyxy, [[0, 0, 80, 120]], atol=1e-3)
    soft = Teacher(two_things, ("cat", "dog"), score=0.3, soft=True)
    label_folder(tmp_path / "in", tmp_path / "soft", soft)
    dataset = read_dataset(tmp_path / "soft")
    assert dataset.examples[0].weight.tolist() == pytest.approx([0.9, 0.4])
    assert check(dataset).ok


def test_faces_bring_their_landmarks(tmp_path: Path):
    drawn = face(3)
    write_example(tmp_path / "in", "a", drawn)

    class Finder:
        def find(self, frames):
            zeros = np.zeros(1, np.float32)
            return [
                Faces(drawn.xyxy, np.float32([0.8]), drawn.landmarks, np.int32([-1]), zeros)
                for _ in frames
            ]

    label_folder(tmp_path / "in", tmp_path / "out", Teacher(of_faces(Finder()), ("face",)))
    (example,) = read_dataset(tmp_path / "out").examples
    np.testing.assert_allclose(example.landmarks, drawn.landmarks, atol=1e-3)


def test_a_contract_detector_is_asked_frame_by_frame():
    class Detector:
        def detect(self, frames):
            return [two_things(f.picture) for f in frames]

    found = of_detector(Detector())(RgbPicture(np.zeros((10, 20, 3), np.uint8)))
    assert found.xyxy.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]]


def test_a_video_becomes_one_group_of_pictures(tmp_path: Path):
    source = shared("videos") / "one-by-one-person-detection.mp4"
    teacher = Teacher(two_things, ("cat", "dog"))
    count = label_folder(source, tmp_path / "out", teacher, every=400)
    dataset = read_dataset(tmp_path / "out")
    assert count == len(dataset) == 4
    assert {e.group for e in dataset.examples} == {"one-by-one-person-detection"}
    assert dataset.examples[1].load().size_wh == (768, 432)


def test_what_a_person_labelled_stays():
    human = Dataset(("cat",), (plain_example("a", "a"),))
    taught = replace(
        plain_example("a", "a", 2),
        xyxy=np.float32([[12, 10, 50, 50], [60, 60, 90, 90]]),
        class_id=np.int32([0, 0]),
        weight=np.float32([0.7, 0.6]),
    )
    other = plain_example("b", "b")
    merged = merge(human, Dataset(("dog",), (taught, other)))
    assert merged.classes == ("cat", "dog")
    first, second = merged.examples
    assert first.xyxy.tolist() == [[10, 10, 50, 50], [60, 60, 90, 90]]
    assert first.class_id.tolist() == [0, 1]
    assert first.weight.tolist() == pytest.approx([1, 0.6])
    assert (second.name, second.class_id.tolist()) == ("b", [1])


def test_teaching_adds_what_a_data_set_lacks(tmp_path: Path):
    dataset = drawn_dataset(tmp_path, 2)
    taught = teach(dataset, Teacher(two_things, ("cat", "face"), score=0.3, soft=True))
    assert taught.classes == ("face", "cat")
    for before, after in zip(dataset.examples, taught.examples, strict=True):
        np.testing.assert_array_equal(after.xyxy[0], before.xyxy[0])
        assert len(after) >= 1


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: None, "does not exist"),
        (lambda f: (f / "in").mkdir(), "holds no picture and no video"),
        (lambda f: [(f / "in").mkdir(), (f / "in/a.jpg").write_bytes(b"x")], "no picture"),
        (lambda f: [(f / "in").mkdir(), (f / "in/a.mp4").write_bytes(b"x")], "a.mp4"),
        (lambda f: [(f / "in").mkdir(), (f / "out/x").mkdir(parents=True)], "is not empty"),
    ],
)
def test_nothing_to_label_is_said_clearly(tmp_path: Path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(ConfigError, match=message):
        label_folder(tmp_path / "in", tmp_path / "out", Teacher(two_things, ("cat", "dog")))


def test_a_teacher_of_more_classes_than_it_names_is_refused(tmp_path: Path):
    write_example(tmp_path / "in", "a", face(0))
    with pytest.raises(ConfigError, match="found class 1, but names only 1"):
        label_folder(tmp_path / "in", tmp_path / "out", Teacher(two_things, ("cat",), score=0.1))
