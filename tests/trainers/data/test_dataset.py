"""Examples, data sets, splits by group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset, face, plain_example, write_example
from trainers.data.dataset import Dataset, Sample, group_by_folder, is_held_out, unknown_points

GROUPS = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(GROUPS, st.integers(0, 99), st.floats(0.1, 0.9))
def test_a_split_never_parts_a_group(groups, seed, fraction):
    dataset = Dataset(("a",), tuple(plain_example(f"{n}", g) for n, g in enumerate(groups)))
    try:
        rest, held = dataset.split(fraction, seed)
    except ConfigError:
        return
    assert {e.group for e in rest.examples}.isdisjoint(e.group for e in held.examples)
    assert sorted(e.name for e in (*rest.examples, *held.examples)) == sorted(
        e.name for e in dataset.examples
    )


@settings(max_examples=100, deadline=None)
@given(GROUPS, GROUPS, st.integers(0, 99))
def test_adding_pictures_moves_no_other(groups, more, seed):
    side = {g: is_held_out(g, 0.3, seed) for g in groups}
    dataset = Dataset(("a",), tuple(plain_example(f"{n}", g) for n, g in enumerate(groups + more)))
    try:
        _, held = dataset.split(0.3, seed)
    except ConfigError:
        return
    names = {e.group for e in held.examples}
    assert all((g in names) == held_side for g, held_side in side.items())


def test_the_held_back_share_is_near_the_fraction():
    share = np.mean([is_held_out(f"video{n}", 0.2, 0) for n in range(2000)])
    assert share == pytest.approx(0.2, abs=0.03)


def test_a_split_that_leaves_a_side_empty_is_refused():
    with pytest.raises(ConfigError, match=r"1 group\(s\) leaves one side empty"):
        Dataset(("a",), (plain_example("x", "g"), plain_example("y", "g"))).split(0.5)


def test_select_renumbers_and_keeps_pictures_without_an_object():
    example = replace(plain_example("x", "x", 3), class_id=np.int32([0, 1, 2]))
    dataset = Dataset(("a", "b", "c"), (example, plain_example("y", "y", 0)))
    chosen = dataset.select(["c", "a"])
    assert chosen.classes == ("c", "a")
    assert [e.class_id.tolist() for e in chosen.examples] == [[1, 0], []]
    with pytest.raises(ConfigError, match="Class 'dog' is not in the data set, which has a, b, c"):
        dataset.select(["dog"])


def test_two_data_sets_unite_their_classes_by_name():
    one = Dataset(("a", "b"), (replace(plain_example("x", "x"), class_id=np.int32([1])),))
    two = Dataset(("b", "c"), (replace(plain_example("y", "y"), class_id=np.int32([0])),))
    both = one + two
    assert both.classes == ("a", "b", "c")
    assert [e.class_id.tolist() for e in both.examples] == [[1], [1]]


def test_the_hash_changes_with_labels_and_with_pixels(tmp_path: Path):
    dataset = drawn_dataset(tmp_path, 3)
    before = dataset.sha256()
    assert drawn_dataset(tmp_path, 3).sha256() == before
    moved = replace(dataset.examples[0], xyxy=dataset.examples[0].xyxy + 1)
    assert Dataset(dataset.classes, (moved, *dataset.examples[1:])).sha256() != before
    write_example(tmp_path, "p000", face(77))
    assert dataset.sha256() != before


def test_an_empty_data_set_says_so():
    with pytest.raises(ConfigError, match="holds no picture"):
        Dataset(("a",), ()).require_examples()
    with pytest.raises(ConfigError, match="None of the 1 pictures shows any of a"):
        Dataset(("a",), (plain_example("x", "x", 0),)).require_examples()


def test_columns_are_checked_at_birth_and_read_only():
    with pytest.raises(ValueError, match=r"xyxy must have shape \(N, 4\)"):
        replace(plain_example("x", "x"), xyxy=np.zeros((1, 5), np.float32))
    with pytest.raises(ValueError, match="equally long"):
        replace(plain_example("x", "x"), weight=np.ones(2, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        face(0).xyxy[0, 0] = 3


def test_inside_cuts_boxes_drops_slivers_and_forgets_points_outside():
    sample = Sample(
        np.zeros((50, 50, 3), np.uint8),
        np.float32([[-10, 10, 20, 70], [49.5, 0, 80, 20], [60, 60, 70, 70]]),
        np.int32([0, 1, 2]), unknown_points(3) * 1, np.ones(3, np.float32), "n", "g",
    )  # fmt: skip
    points = sample.landmarks.copy()
    points[0] = [[-1, 20], [5, 20], [5, 60], [5, 5], [49, 49]]
    cut = replace(sample, landmarks=points).inside()
    assert cut.xyxy.tolist() == [[0, 10, 20, 50]]
    assert np.isnan(cut.landmarks[0]).any(1).tolist() == [True, False, True, False, False]


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path):
    example = replace(write_example(tmp_path, "x", face(0)), size_wh=(120, 160))
    with pytest.raises(
        ConfigError, match=r"is 160x120 upright, but its labels in .* are for 120x160"
    ):
        example.load()


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("a.jpg", "a"),  # lies flat: a group of its own
        ("video7/000010.jpg", "video7"),
        ("day1/video7/000010.jpg", "day1/video7"),
    ],
)
def test_the_folder_is_the_group(path, group):
    assert group_by_folder(Path(path)) == group
