"""Capacity: the search finds what is carried, in few tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.diagnostics.benchmark import Cost
from edge.diagnostics.capacity import PRECISION, find_most, is_carried


def search(carried, limit=64, tries=1000):
    tried = []

    def carries(cameras):
        tried.append(cameras)
        return cameras <= carried

    return find_most(carries, limit, lambda: len(tried) >= tries), tried


@given(carried=st.integers(0, 100), limit=st.integers(1, 64))
def test_the_search_finds_the_largest_number_to_a_sixteenth(carried, limit):
    most, tried = search(carried, limit)
    truth = min(carried, limit)
    assert most <= truth <= most + most // PRECISION
    assert set(tried) <= set(range(1, limit + 1))
    assert len(tried) == len(set(tried)) <= 13


def test_the_search_doubles_then_bisects():
    assert search(11) == (11, [1, 2, 4, 8, 16, 12, 10, 11])


@given(carried=st.integers(1, 64), tries=st.integers(1, 6))
def test_without_time_left_what_was_carried_is_the_answer(carried, tries):
    most, tried = search(carried, tries=tries)
    assert len(tried) <= tries
    assert most == max((n for n in tried if n <= carried), default=0)


@pytest.mark.parametrize(
    ("per_camera", "age_s", "carried"),
    [
        ((50, 50), 0.1, True),
        ((45, 50), 0.5, True),  # of 50: five a second for ten seconds
        ((44, 50), 0.1, False),  # one loses more than a tenth
        ((50, 50), 0.6, False),  # late
        ((50,), 0.1, False),  # one starves
        ((50, 0), 0.1, False),
    ],
)
def test_cameras_are_carried_when_each_has_its_frames_in_time(per_camera, age_s, carried):
    cost = Cost(sum(per_camera), 10.0, 2.0, 0, per_camera, (0.01, *[age_s] * 99))
    assert is_carried(cost, 2, 5.0) == carried


def test_cameras_of_which_nothing_was_heard_are_not_carried():
    assert not is_carried(Cost(0, 10.0, 2.0, 0), 1, 5.0)
