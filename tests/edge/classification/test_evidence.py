"""Looks are fused as their independence allows; what is decided changes within its votes only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.classification.evidence import ROUNDING, WINDOW, Evidence, Rules, fuse

RULES = Rules(min_votes=3, min_score=0.9)


def say(*scores):
    """Looks at two classes by the probability of the second."""
    return [np.array([1 - score, score], np.float32) for score in scores]


def decide(*scores, rules=RULES):
    """The value after each look."""
    evidence = Evidence(rules)
    values = []
    for look in say(*scores):
        evidence.add(look)
        values.append(evidence.value)
    return values


@pytest.mark.parametrize(
    ("scores", "decided"),
    [
        ((0.99, 0.99), None),  # too few votes, however sure
        ((0.99, 0.99, 0.99), 1),
        ((0.75, 0.75, 0.75), None),  # 87 % so far
        ((0.75, 0.75, 0.75, 0.75), 1),
        ((0.6,) * 50, None),  # never: looks at one thing are not independent
        ((0.5,) * 50, None),
        ((0.99, 0.01, 0.99, 0.01, 0.99), None),  # three votes, against as much
        ((0.01, 0.02, 0.03), 0),
    ],
)
def test_a_value_is_decided_once_looks_are_enough_and_sure(scores, decided):
    assert decide(*scores)[-1] == decided


def test_n_looks_weigh_as_much_as_the_root_of_n():
    logits = np.log(0.8 / 0.2)
    for n in (1, 2, 4, 9):
        fused = fuse([np.log(look) for look in say(*[0.8] * n)])
        np.testing.assert_allclose(np.log(fused[1] / fused[0]), logits * np.sqrt(n), rtol=1e-5)


def test_what_is_decided_flips_with_its_votes_and_not_before():
    values = decide(*[0.95] * 10, *[0.05] * 3)
    assert values[9:] == [1, 1, 1, 0]


def test_looks_that_hardly_say_otherwise_do_not_flip_it_but_cast_doubt():
    values = decide(*[0.95] * 10, *[0.45] * 40)
    assert set(values[2:20]) == {1}
    assert values[-1] is None


@pytest.mark.parametrize("votes", [1, 2, 5])
def test_it_flips_within_as_many_votes_as_are_asked_for(votes):
    rules = Rules(votes, 0.9)
    values = decide(*[0.99] * 8, *[0.01] * votes, rules=rules)
    assert values[7:] == [1] * votes + [0]


def test_contradictions_over_a_full_window_leave_it_undecided_and_it_recovers():
    doubt = [0.2, 0.2, 0.9] * WINDOW  # never three in a row
    assert decide(*[0.95] * WINDOW, *doubt)[-1] is None
    assert decide(*[0.95] * WINDOW, *doubt, *[0.99] * WINDOW)[-1] == 1


def test_single_wrong_looks_change_nothing():
    assert set(decide(*([0.97] * 5 + [0.01]) * 20)[3:]) == {1}


def test_of_many_classes_the_one_that_is_ahead_needs_the_score():
    evidence = Evidence(RULES)
    for _ in range(WINDOW):
        evidence.add(np.array([0.4, 0.35, 0.25], np.float32))
    assert evidence.value is None
    assert evidence.likeliest == 0
    assert evidence.is_settled, "more looks of that kind are no use"
    for _ in range(3):
        evidence.add(np.array([0.01, 0.01, 0.98], np.float32))
    assert (evidence.value, evidence.likeliest) == (None, 2), "the older ones count as well"
    for _ in range(5):
        evidence.add(np.array([0.01, 0.01, 0.98], np.float32))
    assert evidence.value == 2


def test_a_contrary_look_asks_for_more_of_them():
    evidence = Evidence(RULES)
    for look in say(0.99, 0.99, 0.99):
        evidence.add(look)
    assert evidence.is_settled
    evidence.add(say(0.01)[0])
    assert not evidence.is_settled


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60), st.integers(1, 6))
def test_whatever_is_decided_had_its_votes_and_is_one_of_the_classes(scores, votes):
    evidence = Evidence(Rules(votes, 0.9))
    before = None
    for number, look in enumerate(say(*scores), 1):
        evidence.add(look)
        assert 0 <= evidence.score <= 1
        assert evidence.votes <= len(evidence) <= min(number, WINDOW)
        if evidence.value is not None and evidence.value != before:
            assert evidence.votes >= votes
            assert evidence.score >= 0.9 - ROUNDING
        before = evidence.value


@pytest.mark.parametrize(("error", "spread"), [(0.02, 0.0), (0.05, 0.5), (0.0, 1.2)])
def test_a_static_noisy_scene_flips_nothing_for_ten_minutes(error, spread):
    """A look a second: some are wrong outright, all of them vary."""
    rng = np.random.default_rng(7)
    evidence, flips = Evidence(RULES), 0
    for number in range(603):
        logit = 3 + spread * rng.standard_normal()
        if number > 5 and rng.random() < error:
            logit = -logit
        before = evidence.value
        evidence.add(say(1 / (1 + np.exp(-logit)))[0])
        flips += before is not None and evidence.value != before
    assert (evidence.value, flips) == (1, 0)
