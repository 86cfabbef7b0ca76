"""Teachers: models that label for us, and what a person labeled stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.errors import ConfigError
from edge.types import Detections, Faces, RgbPicture
from tests.support.drawn_data import drawn_dataset, face, plain_example, shared, write_example
from tests.support.models import constant_model
from trainers.augment.augment import with_image
from trainers.commands.app import app
from trainers.data.check import check
from trainers.data.dataset import Dataset
from trainers.data.parts import Parts
from trainers.data.read import read_dataset
from trainers.detector import DetectorJob, add_pseudo_labels
from trainers.pseudo_labels import (
    Teacher,
    add_teacher_labels,
    label_folder,
    label_into_run,
    load_teacher,
    merge_labels,
    wrap_detector,
    wrap_face_detector,
)


def two_things(picture: RgbPicture) -> Detections:
    """A sure one on the left half, a doubtful one on the right half."""
    w, h = picture.size_wh
    return Detections(
        np.float32([[0, 0, w / 2, h], [w / 2, 0, w, h]]), np.float32([0.9, 0.4]), np.int32([0, 1])
    )


def test_hard_labels_are_the_sure_ones_and_soft_ones_carry_their_score(tmp_path: Path):
    write_example(tmp_path / "in", "a", face(0))
    hard = Teacher(two_things, ("cat", "dog"), score=0.5)
    assert len(label_folder(tmp_path / "in", tmp_path / "hard", hard)) == 1
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

    label_folder(
        tmp_path / "in", tmp_path / "out", Teacher(wrap_face_detector(Finder()), ("face",))
    )
    (example,) = read_dataset(tmp_path / "out").examples
    np.testing.assert_allclose(example.landmarks, drawn.landmarks, atol=1e-3)


def test_a_contract_detector_is_asked_frame_by_frame():
    class Detector:
        def detect(self, frames):
            return [two_things(f.picture) for f in frames]

    found = wrap_detector(Detector())(RgbPicture(np.zeros((10, 20, 3), np.uint8)))
    assert found.xyxy.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]]


def test_a_video_becomes_one_group_of_pictures(tmp_path: Path):
    source = shared("videos") / "one-by-one-person-detection.mp4"
    teacher = Teacher(two_things, ("cat", "dog"))
    told = label_folder(source, tmp_path / "out", teacher, every=400)
    dataset = read_dataset(tmp_path / "out")
    assert len(told) == len(dataset) == 4
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
    merged = merge_labels(human, Dataset(("dog",), (taught, other)))
    assert merged.classes == ("cat", "dog")
    first, second = merged.examples
    assert first.xyxy.tolist() == [[10, 10, 50, 50], [60, 60, 90, 90]]
    assert first.class_id.tolist() == [0, 1]
    assert first.weight.tolist() == pytest.approx([1, 0.6])
    assert (second.name, second.class_id.tolist()) == ("b", [1])


def test_teaching_adds_what_a_data_set_lacks(tmp_path: Path):
    dataset = drawn_dataset(tmp_path, 2)
    taught = add_teacher_labels(dataset, Teacher(two_things, ("cat", "face"), score=0.3, soft=True))
    assert taught.classes == ("face", "cat")
    for before, after in zip(dataset.examples, taught.examples, strict=True):
        np.testing.assert_array_equal(after.xyxy[0], before.xyxy[0])
        assert len(after) >= 1


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: None, "Nothing exists here"),
        (lambda f: (f / "in").mkdir(), "holds no picture and no video"),
        (lambda f: [(f / "in").mkdir(), (f / "in/a.jpg").write_bytes(b"x")], "not a picture"),
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
    with pytest.raises(ConfigError, match="detected class 1, but only 1"):
        label_folder(tmp_path / "in", tmp_path / "out", Teacher(two_things, ("cat",), score=0.1))


def model_file(folder: Path, name: str = "teacher.onnx") -> Path:
    """A contract model that sees a cat in the middle of each picture, and half a dog."""
    rows = np.float32([[8, 8, 24, 24, 0.9, 0], [0, 0, 16, 32, 0.6, 1]])
    path = folder / name
    path.write_bytes(constant_model("detect", {"detections": rows}, ("cat", "dog")))
    return path


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_what_a_model_labels_is_read_back_by_the_readers(tmp_path: Path, form):
    write_example(tmp_path / "in", "a", face(0, (64, 64)))
    write_example(tmp_path / "more", "b", face(1, (64, 64)))
    words = ["label", str(tmp_path / "in"), str(tmp_path / "more/b.png"), "--soft"]
    words += ["--teacher", str(model_file(tmp_path)), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--format", form, "--classes", "dog,cat"])
    assert done.exit_code == 0, done.output
    assert "2 images, 4 objects of dog, cat" in done.output
    dataset = read_dataset(tmp_path / "out")
    assert dataset.classes == ("dog", "cat")
    assert [(e.name, e.group) for e in dataset.examples] == [("a", "a"), ("b", "b")]
    for example in dataset.examples:
        assert example.class_id.tolist() == [1, 0]
        np.testing.assert_allclose(example.weight, [0.9, 0.6], atol=1e-3)
        np.testing.assert_allclose(example.xyxy, [[16, 16, 48, 48], [0, 0, 32, 64]], atol=0.1)
    assert check(dataset).ok


def test_a_face_finder_labels_faces(tmp_path: Path):
    write_example(tmp_path / "in", "a", face(0, (64, 64)))
    outputs = {"detections": np.float32([[8, 8, 24, 24, 0.9, 0]]),
               "landmarks": np.full((1, 5, 2), 16, np.float32)}  # fmt: skip
    (tmp_path / "faces.onnx").write_bytes(constant_model("faces", outputs, ("face",)))
    teacher = load_teacher(tmp_path / "faces.onnx")
    (example,) = label_folder(tmp_path / "in", tmp_path / "out", teacher).examples
    np.testing.assert_allclose(example.landmarks, np.full((1, 5, 2), 32), atol=0.1)


def test_a_teacher_is_asked_only_for_what_it_knows(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not know horse; it knows cat, dog"):
        load_teacher(model_file(tmp_path), ("cat", "horse"))


def test_a_teacher_can_be_told_to_speak_of_less(tmp_path: Path):
    write_example(tmp_path / "in", "a", face(0, (64, 64)))
    whole = load_teacher(model_file(tmp_path))
    assert whole.only(("cat", "dog")) is whole
    taught = add_teacher_labels(drawn_dataset(tmp_path / "in", 1), whole.only(("dog",)))
    assert taught.classes == ("face", "dog")
    again = add_teacher_labels(
        drawn_dataset(tmp_path / "in", 1), load_teacher(model_file(tmp_path), ("dog",))
    )
    assert again.sha256() == taught.sha256()


def test_two_pictures_of_one_name_are_refused(tmp_path: Path):
    for folder in ("one", "two"):
        write_example(tmp_path / folder, "a", face(0))
    with pytest.raises(ConfigError, match="Another picture is called a too"):
        label_folder(
            [tmp_path / "one", tmp_path / "two"],
            tmp_path / "out",
            load_teacher(model_file(tmp_path)),
        )


def test_a_trainer_takes_labels_of_a_teacher_and_keeps_the_held_back_part(tmp_path: Path):
    """Unlabeled pictures join the training part, those that show what is held back do not."""
    data = tmp_path / "data"
    dataset = drawn_dataset(data, 12)
    rest, held = dataset.split(0.3, 0)
    new = tmp_path / "new"
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    write_example(new, "fresh", with_image(face(50), noise))
    (new / "copy.png").write_bytes(held.examples[0].path.read_bytes())
    teacher = load_teacher(model_file(tmp_path), ("cat",), 0.5, soft=True)
    job = DetectorJob(data=(data,), out=tmp_path / "run", teacher=teacher, unlabeled=(new,))
    rest = replace(rest, classes=("face", "cat"))
    taught_part, kept, _ = add_pseudo_labels(job, Parts(rest, held))
    assert kept is held
    assert taught_part.classes == ("face", "cat")
    names = [e.name for e in taught_part.examples]
    assert names == [*(e.name for e in rest.examples), "fresh"]
    fresh = taught_part.examples[-1]
    assert (fresh.class_id.tolist(), fresh.weight.tolist()) == ([1], [pytest.approx(0.9, abs=1e-3)])
    again, *_ = add_pseudo_labels(job, Parts(rest, held), resume=True)
    assert again.sha256() == taught_part.sha256()


def saying(name: str, *, tired_after: int = 99) -> Teacher:
    """A teacher who calls every picture so, and has enough of it after a while."""
    asked = []

    def ask(picture: RgbPicture) -> Detections:
        asked.append(1)
        if len(asked) > tired_after:
            raise ConfigError("enough")
        return Detections(np.float32([[0, 0, 9, 9]]), np.float32([1]), np.int32([0]))

    return Teacher(ask, (name,))


def test_what_an_earlier_attempt_labelled_is_read_by_a_resumed_run_only(tmp_path: Path):
    drawn_dataset(tmp_path / "in", 2)
    target = tmp_path / "run" / "taught"
    with pytest.raises(ConfigError, match="enough"):
        label_into_run(tmp_path / "in", target, saying("half", tired_after=1), resume=False)
    assert not target.exists()  # half of the pictures are no data set
    assert label_into_run(tmp_path / "in", target, saying("cat"), resume=False).classes == ("cat",)
    assert label_into_run(tmp_path / "in", target, saying("dog"), resume=True).classes == ("cat",)
    with pytest.raises(ConfigError, match="enough"):
        label_into_run(tmp_path / "in", target, saying("half", tired_after=1), resume=False)
    assert label_into_run(tmp_path / "in", target, saying("dog"), resume=False).classes == ("dog",)
    assert [p.name for p in target.parent.iterdir()] == ["taught"]


def test_labels_that_somebody_else_wrote_are_not_replaced(tmp_path: Path):
    drawn_dataset(tmp_path / "in", 1)
    (tmp_path / "taught").mkdir()
    (tmp_path / "taught" / "years of work.txt").touch()
    with pytest.raises(ConfigError, match="is in the way: move it elsewhere"):
        label_into_run(tmp_path / "in", tmp_path / "taught", saying("cat"), resume=False)
    assert [p.name for p in (tmp_path / "taught").iterdir()] == ["years of work.txt"]


def test_a_new_run_does_not_learn_what_an_earlier_attempt_was_taught(tmp_path: Path):
    drawn = replace(drawn_dataset(tmp_path / "data", 12), classes=("face", "cat"))
    parts = Parts(*drawn.split(0.3, 0))
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    for name in ("old", "new"):
        write_example(tmp_path / name, name, with_image(face(50), noise))
    learnt = []
    for name in ("old", "new"):
        job = DetectorJob(
            data=(), out=tmp_path / "run", teacher=saying("cat"), unlabeled=(tmp_path / name,)
        )
        learnt.append(add_pseudo_labels(job, parts)[0].examples[-1].name)
    assert learnt == ["old", "new"]


def test_a_teacher_of_other_things_is_refused(tmp_path: Path):
    job = DetectorJob(
        data=(tmp_path,), out=tmp_path / "run", teacher=load_teacher(model_file(tmp_path))
    )
    parts = Parts(*drawn_dataset(tmp_path / "data", 6).split(0.3, 1))
    with pytest.raises(ConfigError, match="knows cat, dog; the classes to learn are face"):
        add_pseudo_labels(job, parts)


def test_what_is_neither_picture_nor_video_is_told_and_hidden_files_are_not_labeled(tmp_path):
    write_example(tmp_path / "in", "a", face(0))
    for name in ("b.heic", "c.heic", "d.xyz", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    thumbs = tmp_path / "in" / "@eaDir" / "a.png"
    thumbs.parent.mkdir()
    thumbs.write_bytes(b"not a picture")
    labeled = label_folder(tmp_path / "in", tmp_path / "out", Teacher(two_things, ("cat", "dog")))
    assert len(labeled) == 1
    assert [note.what for note in labeled.notes] == [
        "2 .heic file(s) were passed over, not read here: convert it to JPEG",
        "1 .xyz file(s) were passed over, not read here: convert it if it is a picture",
    ]
    with pytest.raises(ConfigError, match=r"1 \.heic file\(s\) were passed over"):
        label_folder(tmp_path / "in" / "b.heic", tmp_path / "2", Teacher(two_things, ("cat",)))
