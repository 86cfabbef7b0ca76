"""Votes: what several looks say together."""

from __future__ import annotations

import numpy as np
import pytest

from edge.people.gallery.index import IndexedPerson
from edge.people.recognition.voting import MAX_LOOKS, Vote, VoteWindow, VotingRules, match_votes
from tests.support.recognition import ADA, AXES, BOB, people, towards

RULES = VotingRules(threshold=0.5, min_margin=0.05, min_votes=3, min_ratio=0.6)


def vote(who: IndexedPerson | None, ambiguous: bool = False) -> Vote:
    return Vote(who, ambiguous, 0.8 if who or ambiguous else 0.1, 0.3 if who else 0.01)


A, B, NOBODY, BOTH = vote(ADA), vote(BOB), vote(None), vote(None, ambiguous=True)


@pytest.mark.parametrize(
    ("cast", "person", "unknown"),
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
def test_votes_make_a_name_only_together(cast, person, unknown):
    window = VoteWindow()
    for at_s, one in enumerate(cast):
        window.add(AXES[0], one, at_s, live=True)
    result = window.decide(RULES)
    assert (result.person, result.unknown) == (person, unknown)
    assert result.reason


def test_votes_of_a_face_that_does_not_live_name_nobody():
    window = VoteWindow()
    for at_s in range(5):
        window.add(AXES[0], A, at_s, live=at_s < 2)
    assert window.decide(RULES).person is None


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
