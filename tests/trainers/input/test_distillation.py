"""Lessons and batches: who appears how often, and what a disguise does."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.augment import face_synthesis as disguise
from trainers.data.portraits import Portraits
from trainers.input.distillation import Balanced, Lessons, Plan, disguised, lessons_of


def portraits(each: tuple[int, ...] = (2, 3, 9)) -> Portraits:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(len(each)), each)
    crops = rng.integers(0, 255, (len(person), 112, 112, 3), np.uint8)
    video = np.arange(len(person))
    names = tuple("abcdefghij"[: len(each)])
    return Portraits(crops, person, video, np.ones(len(person), np.float32), names)


class Parrot:
    """A teacher who says what the mean colour is."""

    name, sha256 = "parrot", "0" * 64

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.asked += len(crops)
        mean = crops.mean((1, 2)).astype(np.float32)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_every_person_of_a_batch_has_as_many_pictures_as_any_other():
    lessons = lessons_of(portraits((2, 3, 9, 30, 2)), {0, 1, 2, 3, 4}, None, 0)
    batches = Balanced(lessons, Plan(people=3, each=4, others=0, pictures=120))
    assert len(batches) == 10
    seen = set()
    for index in range(len(batches)):
        _, labels = batches[index]
        who, count = np.unique(labels["person"], return_counts=True)
        assert count.tolist() == [4, 4, 4]
        seen |= set(who.tolist())
    assert seen == {0, 1, 2, 3, 4}  # thirty pictures bring nobody forward


def test_a_picture_comes_once_a_batch_while_there_are_others():
    lessons = lessons_of(portraits((5, 5)), {0, 1}, None, 0)
    crops, _ = Balanced(lessons, Plan(2, 4, 0, 8, worse=0.0))[0]
    assert len({crop.tobytes() for crop in crops}) == 8


def test_people_who_do_not_learn_have_no_name():
    lessons = lessons_of(portraits(), {0, 2}, Parrot(), 20)
    assert set(lessons.person[:14].tolist()) == {0, 2, -1}
    assert (lessons.person[2:5] == -1).all()  # the second person
    assert (lessons.person[14:] == -1).all()  # disguises
    batches = Balanced(lessons, Plan(2, 3, 4, 100))
    named = np.concatenate([batches[i][1]["person"][:6] for i in range(5)])
    assert set(named.tolist()) == {0, 2}


def test_the_teacher_speaks_about_the_very_picture():
    lessons = lessons_of(portraits(), {0}, Parrot(), 30, seed=3)
    np.testing.assert_allclose(lessons.taught, Parrot().embed(lessons.crops), atol=1e-6)


def test_the_teacher_is_asked_once(tmp_path):
    first, second = Parrot(), Parrot()
    told = lessons_of(portraits(), {0}, first, 20, cache=tmp_path)
    again = lessons_of(portraits(), {0}, second, 20, cache=tmp_path)
    assert (first.asked, second.asked) == (20, 0)
    np.testing.assert_array_equal(told.taught, again.taught)
    other = Parrot()
    lessons_of(portraits(), {0}, other, 20, seed=1, cache=tmp_path)
    assert other.asked == 20  # other pictures, other answers


def test_batches_repeat_and_epochs_differ():
    lessons, plan = lessons_of(portraits(), {0, 1, 2}, None, 0), Plan(2, 2, 3, 70)
    first, again = Balanced(lessons, plan), Balanced(lessons, plan)
    np.testing.assert_array_equal(first[3][0], again[3][0])
    first.on_epoch_end()
    assert (first[3][0] != again[3][0]).any()
    np.testing.assert_array_equal(first[3][0], Balanced(lessons, plan, epoch=1)[3][0])


def test_disguises_are_other_faces_and_the_portraits_come_first():
    source = portraits()
    made = disguised(source, 40, 1, disguise.Disguise())
    np.testing.assert_array_equal(made[:14], source.crops)
    np.testing.assert_array_equal(made[:20], disguised(source, 20, 1, disguise.Disguise()))
    assert len({crop.tobytes() for crop in made}) == 40


def stripes() -> np.ndarray:
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, ::8] = 200
    return crop


@pytest.mark.parametrize("seed", range(8))
def test_what_makes_a_face_keeps_its_shape(seed):
    rng = np.random.default_rng(seed)
    for made in (
        disguise.mix(stripes(), stripes().transpose(1, 0, 2), rng),
        disguise.bend(stripes(), 5, rng),
        disguise.misalign(stripes(), 1, rng),
        disguise.cover(stripes(), rng),
        disguise.degrade(stripes(), rng),
        disguise.Disguise()(stripes(), stripes(), rng),
    ):
        assert made.shape == (112, 112, 3)
        assert made.dtype == np.uint8


def test_a_mixed_face_lies_between_its_parents():
    dark, bright = np.full((112, 112, 3), 10, np.uint8), np.full((112, 112, 3), 210, np.uint8)
    for seed in range(10):
        mixed = disguise.mix(dark, bright, np.random.default_rng(seed))
        assert mixed.min() >= 10
        assert mixed.max() <= 210
        assert 20 < mixed.mean() < 200  # both are in it


def test_bending_moves_no_pixel_farther_than_asked():
    ramp = np.repeat(np.arange(112, dtype=np.uint8)[None, :, None], 112, 0).repeat(3, 2)
    bent = disguise.bend(ramp, 4, np.random.default_rng(0)).astype(int)
    moved = np.abs(bent - ramp.astype(int))[:, 10:-10]
    assert 0.5 < moved.max() <= 6  # cubic interpolation overshoots a little


def test_lessons_without_a_teacher_are_the_portraits():
    lessons = lessons_of(portraits(), {0, 1, 2}, None, 500)
    assert isinstance(lessons, Lessons)
    assert len(lessons) == 14
    assert not lessons.taught.any()
