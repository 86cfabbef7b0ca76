"""Votes: what several looks say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.people.recognition.voting import MAX_LOOKS, VoteWindow, VotingRules, match_votes
from tests.support.recognition import ADA, AXES, BOB, people, towards

RULES = VotingRules(threshold=0.5, min_margin=0.05, min_votes=3, min_ratio=0.6, look_threshold=0.35)
A, B, NOBODY, BOTH = towards(0.8), towards(0, 0.8), AXES[5], towards(0.6, 0.58)
FAINT = towards(0.45, 0, 0.6)  # of Ada, but not alone


def window_of(looks: list[np.ndarray], rules: VotingRules = RULES, live: int = 99) -> VoteWindow:
    window = VoteWindow()
    votes = match_votes(people(), np.stack(looks), rules)
    for at_s, (look, vote) in enumerate(zip(looks, votes, strict=True)):
        window.add(look, vote, 0.5, at_s, live=at_s < live)
        window.match(people(), rules)
    return window


@pytest.mark.parametrize(
    ("looks", "person", "unknown"),
    [
        ([A] * 3, ADA, False),
        ([A] * 2, None, False),  # too few
        ([A, A, A, B], ADA, False),  # 3 of 4
        ([A, A, A, B, B, B], None, False),  # half and half
        ([A] * 3 + [NOBODY] * 3, None, False),  # half, and half nobody
        ([A] + [NOBODY] * 11, None, True),  # one good look, eleven bad ones
        ([NOBODY] * 3, None, True),
        ([BOTH] * 3, None, True),
        ([B] * 4 + [BOTH] * 2, BOB, False),
        ([NOBODY] * MAX_LOOKS + [A] * MAX_LOOKS, ADA, False),  # old votes are forgotten
    ],
)
def test_votes_make_a_name_only_together(looks, person, unknown):
    result = window_of(looks).decide(RULES)
    assert (result.person, result.unknown) == (person, unknown)
    assert result.reason


def test_votes_of_a_face_that_does_not_live_name_nobody():
    assert window_of([A] * 5, live=2).decide(RULES).person is None


def turned(axis: int) -> np.ndarray:
    """Of Ada, each into another direction."""
    return (AXES[0] * 0.45 + AXES[axis] * np.sqrt(1 - 0.45**2)).astype(np.float32)


def test_looks_that_alone_are_too_faint_name_a_person_together():
    looks = [turned(axis) for axis in (2, 3, 4)]
    result = window_of(looks).decide(RULES)
    assert (result.person, result.votes) == (ADA, 3)
    assert result.similarity > 0.6


def test_where_every_look_must_be_near_enough_they_do_not():
    rules = replace(RULES, look_threshold=RULES.threshold)
    assert window_of([turned(axis) for axis in (2, 3, 4)], rules).decide(rules).person is None


def test_looks_at_two_people_in_one_track_name_neither():
    strangers = [AXES[axis] for axis in (2, 3, 4)]
    window = window_of([A, A, A, *strangers])
    assert window.decide(RULES).similarity > RULES.threshold
    assert window.decide(RULES).person is None


def test_fourteen_looks_that_are_alike_do_not_outweigh_one_that_turned():
    stands = [turned(2)] * 14
    assert (
        window_of([*stands, turned(3)]).decide(RULES).similarity > 0.51
    )  # 0.48 if all weighed one
    assert window_of(stands).decide(RULES).similarity == pytest.approx(0.45, abs=1e-3)


def test_a_full_window_gives_up_the_worst_of_the_oldest_looks():
    window = VoteWindow()
    rows = np.eye(32, dtype=np.float32)
    nobody = match_votes(people(), AXES[5:6], RULES)[0]
    for n in range(MAX_LOOKS + 3):
        quality = 0.9 if n == 1 else 0.5
        window.add(rows[n], nobody, quality, n, live=True)
    kept = [n for n in range(MAX_LOOKS + 3) if window.mean_similarity(rows[n]) > 0]
    assert kept == [1, *range(4, MAX_LOOKS + 3)]


@pytest.mark.parametrize(
    ("embedding", "person", "ambiguous"),
    [
        (towards(0.6), ADA, False),
        (towards(0.1, 0.7), BOB, False),
        (towards(0.45), None, False),
        (towards(0.6, 0.58), None, True),
        (np.full(8, np.nan, np.float32), None, False),
        (np.zeros(8, np.float32), None, False),
        (towards(0.6) * 3, None, False),  # no unit vector
    ],
)
def test_a_look_votes_by_threshold_and_margin(embedding, person, ambiguous):
    (vote,) = match_votes(people(), embedding[None], RULES)
    assert (vote.person, vote.ambiguous) == (person, ambiguous)
