"""Lessons and batches: who appears how often, and what a disguise does."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.augment import face_synthesis as disguise
from trainers.data.portraits import Portraits
from trainers.input.distillation import (
    BalancedBatches,
    BatchPlan,
    DistillationSet,
    build_distillation_set,
    synthesize_faces,
)


def portraits(each: tuple[int, ...] = (2, 3, 9)) -> Portraits:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(len(each)), each)
    crops = rng.integers(0, 255, (len(person), 112, 112, 3), np.uint8)
    video = np.arange(len(person))
    names = tuple("abcdefghij"[: len(each)])
    return Portraits(crops, person, video, np.ones(len(person), np.float32), names)


class Parrot:
    """A teacher who says what the mean color is."""

    name, sha256 = "parrot", "0" * 64

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.asked += len(crops)
        mean = crops.mean((1, 2)).astype(np.float32)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def make(batches: BalancedBatches, epoch: int, step: int) -> tuple[np.ndarray, dict]:
    return batches.make(*list(batches.plan(epoch))[step])


def test_every_person_of_a_batch_has_as_many_pictures_as_any_other():
    faces = build_distillation_set(portraits((2, 3, 9, 30, 2)), {0, 1, 2, 3, 4}, None, 0)
    batches = BalancedBatches(faces, BatchPlan(people=3, images_per_person=4, others=0, images=120))
    assert batches.steps == 10
    seen = set()
    for plan in batches.plan(0):
        _, labels = batches.make(*plan)
        who, count = np.unique(labels["person"], return_counts=True)
        assert count.tolist() == [4, 4, 4]
        seen |= set(who.tolist())
    assert seen == {0, 1, 2, 3, 4}  # thirty pictures bring nobody forward


def test_a_picture_comes_once_a_batch_while_there_are_others():
    faces = build_distillation_set(portraits((5, 5)), {0, 1}, None, 0)
    crops, _ = make(BalancedBatches(faces, BatchPlan(2, 4, 0, 8, degraded=0.0)), 0, 0)
    assert len({crop.tobytes() for crop in crops}) == 8


def test_people_who_do_not_learn_have_no_name():
    faces = build_distillation_set(portraits(), {0, 2}, Parrot(), 20)
    assert set(faces.person[:14].tolist()) == {0, 2, -1}
    assert (faces.person[2:5] == -1).all()  # the second person
    assert (faces.person[14:] == -1).all()  # disguises
    batches = BalancedBatches(faces, BatchPlan(2, 3, 4, 100))
    named = np.concatenate([make(batches, 0, i)[1]["person"][:6] for i in range(5)])
    assert set(named.tolist()) == {0, 2}


def test_the_teacher_speaks_about_the_very_picture():
    faces = build_distillation_set(portraits(), {0}, Parrot(), 30, seed=3)
    np.testing.assert_allclose(faces.teacher, Parrot().embed(faces.crops), atol=1e-6)


def test_the_teacher_is_asked_once(tmp_path):
    first, second = Parrot(), Parrot()
    told = build_distillation_set(portraits(), {0}, first, 20, cache=tmp_path)
    again = build_distillation_set(portraits(), {0}, second, 20, cache=tmp_path)
    assert (first.asked, second.asked) == (20, 0)
    np.testing.assert_array_equal(told.teacher, again.teacher)
    other = Parrot()
    build_distillation_set(portraits(), {0}, other, 20, seed=1, cache=tmp_path)
    assert other.asked == 20  # other pictures, other answers


def test_batches_repeat_and_epochs_differ():
    faces, plan = build_distillation_set(portraits(), {0, 1, 2}, None, 0), BatchPlan(2, 2, 3, 70)
    first, again = BalancedBatches(faces, plan), BalancedBatches(faces, plan)
    np.testing.assert_array_equal(make(first, 0, 3)[0], make(again, 0, 3)[0])
    assert (make(first, 1, 3)[0] != make(again, 0, 3)[0]).any()
    np.testing.assert_array_equal(make(first, 1, 3)[0], make(again, 1, 3)[0])


def test_disguises_are_other_faces_and_the_portraits_come_first():
    source = portraits()
    made = synthesize_faces(source, 40, 1, disguise.FaceSynthesizer())
    np.testing.assert_array_equal(made[:14], source.crops)
    np.testing.assert_array_equal(
        made[:20], synthesize_faces(source, 20, 1, disguise.FaceSynthesizer())
    )
    assert len({crop.tobytes() for crop in made}) == 40


def stripes() -> np.ndarray:
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, ::8] = 200
    return crop


@pytest.mark.parametrize("seed", range(8))
def test_what_makes_a_face_keeps_its_shape(seed):
    rng = np.random.default_rng(seed)
    for made in (
        disguise.blend_faces(stripes(), stripes().transpose(1, 0, 2), rng),
        disguise.bend_face(stripes(), 5, rng),
        disguise.misalign(stripes(), 1, rng),
        disguise.occlude(stripes(), rng),
        disguise.degrade(stripes(), rng),
        disguise.FaceSynthesizer()(stripes(), stripes(), rng),
    ):
        assert made.shape == (112, 112, 3)
        assert made.dtype == np.uint8


def test_a_mixed_face_lies_between_its_parents():
    dark, bright = np.full((112, 112, 3), 10, np.uint8), np.full((112, 112, 3), 210, np.uint8)
    for seed in range(10):
        mixed = disguise.blend_faces(dark, bright, np.random.default_rng(seed))
        assert mixed.min() >= 10
        assert mixed.max() <= 210
        assert 20 < mixed.mean() < 200  # both are in it


def test_bending_moves_no_pixel_farther_than_asked():
    ramp = np.repeat(np.arange(112, dtype=np.uint8)[None, :, None], 112, 0).repeat(3, 2)
    bent = disguise.bend_face(ramp, 4, np.random.default_rng(0)).astype(int)
    moved = np.abs(bent - ramp.astype(int))[:, 10:-10]
    assert 0.5 < moved.max() <= 6  # cubic interpolation overshoots a little


def test_faces_without_a_teacher_are_the_portraits():
    faces = build_distillation_set(portraits(), {0, 1, 2}, None, 500)
    assert isinstance(faces, DistillationSet)
    assert len(faces) == 14
    assert not faces.teacher.any()
