"""What a run learns from, validates on and is tested on: by groups, and never the same picture."""

from dataclasses import replace

import pytest

from edge.errors import ConfigError
from tests.trainers.run.test_stages import unlike
from trainers.commands.evaluate import Which, choose_part
from trainers.data.parts import split_parts


def groups_of(part):
    return {example.group for example in part.examples} if part else set()


@pytest.fixture
def dataset(tmp_path):
    drawn = unlike(tmp_path / "images", 24)
    return replace(
        drawn,
        examples=tuple(
            replace(example, group=f"video {n // 2}") for n, example in enumerate(drawn.examples)
        ),
    )


def test_no_group_is_in_two_parts_and_each_picture_is_in_one(dataset):
    parts = split_parts(dataset, 0.3, 0.3, seed=3)
    training, validation, test = map(groups_of, parts)
    assert not training & validation
    assert not (training | validation) & test
    assert sum(map(len, parts)) == len(dataset)
    assert all(map(len, parts))


def test_a_test_part_moves_no_group_between_the_others(dataset):
    whole, less = split_parts(dataset, 0.3, seed=3), split_parts(dataset, 0.3, 0.3, seed=3)
    assert groups_of(less.training) < groups_of(whole.training)
    assert groups_of(less.validation) <= groups_of(whole.validation)
    assert whole.test is None


def test_the_data_bring_their_own(dataset):
    names = ["test", "val", "train"]
    marked = replace(
        dataset,
        examples=tuple(
            replace(example, part=names[n // 2 % 3]) for n, example in enumerate(dataset.examples)
        ),
    )
    parts = split_parts(marked, 0.2)
    assert [{e.part for e in part.examples} for part in parts] == [{"train"}, {"val"}, {"test"}]
    with pytest.raises(ConfigError, match="a test part of 8 pictures: leave out --test-fraction"):
        split_parts(marked, 0.2, 0.1)


def test_who_evaluates_sees_what_the_run_validated_on_or_its_test_part(dataset):
    run = split_parts(dataset, 0.3, 0.3)
    for part, own in (("", run.validation), ("val", run.validation), ("test", run.test)):
        asked = choose_part(dataset, Which(0.3, 0.3, part))
        assert [e.name for e in asked.examples] == [e.name for e in own.examples]
    with pytest.raises(ConfigError, match="goes with the --val-fraction"):
        Which(test_fraction=0.3)


def test_near_duplicates_of_the_test_part_are_told(dataset):
    twin = replace(dataset.examples[5], part="test", group="elsewhere")
    parts = split_parts(replace(dataset, examples=(*dataset.examples, twin)), 0.3, seed=3)
    notes = [str(note) for note in parts.training.notes]
    held = dataset.examples[5].group in groups_of(parts.validation)
    assert held or any("1 training picture(s) show nearly the same as test" in n for n in notes)


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (1.0, r"must be in \[0, 1\), got 1.0"),
        (-0.1, "must be in"),
        (float("nan"), "must be in"),
        (1e-9, "--test-fraction 1e-09 of these groups leaves one side empty"),
        (0.999999, "leaves one side empty"),
    ],
)
def test_a_fraction_that_cannot_be_is_refused(dataset, fraction, words):
    with pytest.raises(ConfigError, match=words):
        split_parts(dataset, 0.3, fraction)
