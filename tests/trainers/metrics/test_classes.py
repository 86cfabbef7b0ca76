"""Metrics of classifiers against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.metrics.classes import (
    compute_auroc,
    compute_calibration_error,
    compute_metrics,
    find_temperature,
    to_probabilities,
)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_how_often_a_positive_is_above_a_negative(rows):
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        (a > b) + (a == b) / 2 for a, b in itertools.product(scores[positive], scores[~positive])
    ]
    found = compute_auroc(scores.astype(np.float32), positive)
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


def one_hot(ids, classes):
    return np.eye(classes, dtype=np.float32)[ids]


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    labels = one_hot([0] * 9 + [1], 2)
    probabilities = one_hot([0] * 10, 2)
    found = compute_metrics(probabilities, labels, ("a", "b"), [str(n) for n in range(10)])
    assert found.accuracy == 0.9
    assert found.balanced_accuracy == 0.5
    assert found.confusion.tolist() == [[9, 0], [1, 0]]
    assert found.auroc == {"a": 0.5, "b": 0.5}


def test_the_interval_is_that_of_groups():
    rng = np.random.default_rng(0)
    labels = one_hot(rng.integers(0, 2, 200), 2)
    right = rng.random(200) < 0.8
    probabilities = np.where(right[:, None], labels, 1 - labels)
    single = compute_metrics(probabilities, labels, ("a", "b"), [str(n) for n in range(200)])
    few = compute_metrics(probabilities, labels, ("a", "b"), [str(n // 40) for n in range(200)])
    low, high = single.interval
    assert low < single.balanced_accuracy < high
    assert high - low < 0.15
    assert few.interval != single.interval


def test_independent_labels_are_judged_each():
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], np.float32)
    said = np.array([[0.9, 0.9], [0.9, 0.9], [0.1, 0.1], [0.1, 0.9]], np.float32)
    found = compute_metrics(said, labels, ("a", "b"), list("1234"), independent=True)
    assert found.accuracy == 7 / 8
    assert found.balanced_accuracy == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert found.confusion.tolist() == [[[2, 0], [0, 2]], [[1, 1], [0, 2]]]


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    labels = one_hot([0] * 7 + [1] * 3, 2)
    probabilities = np.tile(np.array([0.9, 0.1], np.float32), (10, 1))
    assert compute_calibration_error(probabilities, labels) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("independent", [False, True])
def test_the_temperature_undoes_confidence(independent):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 3))
    p = to_probabilities(logits, independent=independent).astype(np.float64)
    if independent:
        labels = (rng.random(p.shape) < p).astype(np.float32)
    else:
        p /= p.sum(1, keepdims=True)
        labels = one_hot([rng.choice(3, p=row) for row in p], 3)
    assert find_temperature(3 * logits, labels, independent=independent) == pytest.approx(3, 0.05)
