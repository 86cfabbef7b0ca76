"""Figures of presentation attack detection, by hand."""

import math

import numpy as np
import pytest

from trainers.metrics.interval import Interval
from trainers.metrics.pad import (
    LIVE,
    average_rates,
    bootstrap_rate,
    compute_pad_metrics,
    find_threshold,
    fuse_tracks,
    wilson,
)


@pytest.mark.parametrize(
    ("wrong", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # no error in ten does not mean none
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (1, 100, 0.0018, 0.0545),
    ],
)
def test_wilsons_bounds_are_those_of_the_tables(wrong, n, low, high):
    rate = wilson(wrong, n)
    assert rate.value == wrong / n
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


def test_nothing_counted_is_no_number_within_all_bounds():
    rate = wilson(0, 0)
    assert math.isnan(rate.value)
    assert (rate.low, rate.high, rate.n) == (0.0, 1.0, 0)


def test_apcer_and_bpcer_are_counted_by_kind_and_the_worst_kind_decides():
    kind = [LIVE] * 4 + ["print"] * 2 + ["phone"] * 4
    score = np.array([0.9, 0.5, 0.4, 0.8, 0.1, 0.2, 0.9, 0.6, 0.5, 0.1], np.float32)
    told = compute_pad_metrics(score, kind, 0.5)
    assert told.bpcer.value == 0.25  # 0.4 of four
    assert told.apcer["print"].value == 0
    assert told.apcer["phone"].value == 0.75  # 0.5 is alive
    assert told.worst == "phone"
    assert told.acer.value == 0.5


def test_bounds_by_people_are_wider_where_a_person_errs_alone():
    wrong = np.array([True] * 5 + [False] * 45)
    spread = bootstrap_rate(wrong, [str(n % 10) for n in range(50)])
    one = bootstrap_rate(wrong, [str(n // 5) for n in range(50)])  # all errors are one person's
    assert spread.value == one.value == 0.1
    assert spread.n == one.n == 50
    assert one.high - one.low > 2 * (spread.high - spread.low)
    assert one.low == 0


def test_no_error_of_ten_people_does_not_mean_none():
    rate = bootstrap_rate(np.zeros(50, bool), [str(n % 10) for n in range(50)])
    assert (rate.value, rate.low, rate.n) == (0, 0, 50)
    assert rate.high == pytest.approx(0.2775, abs=1e-4)  # Wilson's for 10 people


def test_people_are_drawn_for_the_bounds_where_they_are_known():
    kind = [LIVE] * 20 + ["print"] * 20
    score = np.array(([0.9] * 9 + [0.1]) * 2 + ([0.9] + [0.1] * 9) * 2, np.float32)
    known = compute_pad_metrics(score, kind, person=[str(n // 10) for n in range(40)])
    assert known.bpcer.value == known.apcer["print"].value == 0.1
    assert known.bpcer.high < compute_pad_metrics(score, kind).bpcer.high


@pytest.mark.parametrize(("bpcer", "expected"), [(0.0, 0.2), (0.25, 0.4), (0.3, 0.4), (1.0, 0.9)])
def test_a_threshold_refuses_no_more_of_the_living_than_asked(bpcer, expected):
    kind = [LIVE] * 4 + ["print"]
    score = np.array([0.4, 0.2, 0.9, 0.6, 0.7], np.float32)
    threshold = find_threshold(score, kind, bpcer)
    assert threshold == pytest.approx(expected)
    assert np.mean(score[:4] < threshold) <= bpcer


def test_no_number_counts_as_an_attack():
    told = compute_pad_metrics(np.array([np.nan, np.nan], np.float32), [LIVE, "print"])
    assert told.bpcer.value == 1
    assert told.apcer["print"].value == 0


def test_figures_need_the_living_and_attacks():
    with pytest.raises(ValueError, match="live clips and of attacks"):
        compute_pad_metrics(np.ones(2, np.float32), [LIVE, LIVE])
    with pytest.raises(ValueError, match="live clips and of attacks"):
        compute_pad_metrics(np.ones(2, np.float32), ["print", "print"])


def test_the_mean_of_two_shares_is_surer_than_either():
    mean = average_rates(Interval(0.1, 0.05, 0.2, 50), Interval(0.3, 0.2, 0.4, 80))
    assert mean.value == pytest.approx(0.2)
    assert mean.high - mean.value == pytest.approx(math.hypot(0.1, 0.1) / 2)
    assert mean.n == 50


def test_a_track_is_judged_by_the_mean_of_its_log_odds():
    score = np.array([0.9, 0.1, 0.8, 1.0], np.float32)
    told, names = fuse_tracks(score, ["a", "a", "b", "c"])
    assert names == ["a", "b", "c"]
    assert told == pytest.approx([0.5, 0.8, 0.99], abs=1e-5)  # nobody is surer than 0.99
