"""Calibration: what was asked for is what happens."""

from __future__ import annotations

import numpy as np
import pytest

from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.threshold import (
    MIN_COMPARISONS,
    Calibration,
    CalibrationError,
    Tail,
    compare_tracks,
)
from tests.support.gallery import faces


@pytest.mark.parametrize("people", [10, 100, 200])
@pytest.mark.parametrize("fpir", [0.01, 0.1])
def test_strangers_are_let_through_as_often_as_was_asked(people, fpir):
    realised = [_realised(people, fpir, seed) for seed in range(4)]  # of a gallery: 0.4 to 2 times
    assert 0.5 * fpir <= np.mean(realised) <= 1.5 * fpir


def _realised(people: int, fpir: float, seed: int) -> float:
    everybody = faces(people + 300 + 3000, seed=1000 * people + seed, dimension=32)
    gallery, strangers, others = np.split(everybody, [people, people + 300])
    index = Index.build(
        [IndexedPerson(str(row), str(row)) for row in range(people)],
        list(gallery[:, None]),
        dimension=32,
    )
    tail = Tail.fit_conservatively(compare_tracks(index, list(strangers[:, None])))
    threshold = Calibration(tail, fpir).threshold(people)
    return float(np.mean((others @ gallery.T).max(axis=1) >= threshold))


def test_the_threshold_grows_with_the_gallery():
    tail = Tail.fit(np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32))
    thresholds = [Calibration(tail, 0.01).threshold(people) for people in (0, 1, 10, 100, 10_000)]
    assert thresholds == sorted(thresholds)
    assert thresholds[1] < thresholds[-1]


def test_rate_and_similarity_are_inverse():
    tail = Tail.fit(np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32))
    for rate in (0.01, 1e-3, 1e-5):
        assert tail.rate(tail.similarity(rate)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("of_tracks", [True, False])
def test_a_calibration_survives_being_stored(of_tracks):
    calibration = Calibration(Tail(0.23, 0.04, -0.1, 5000), 0.01, of_tracks)
    assert Calibration.from_values(calibration.values()) == calibration


def test_too_few_comparisons_are_refused():
    with pytest.raises(CalibrationError, match="--strangers"):
        Tail.fit(np.zeros(MIN_COMPARISONS - 1, np.float32))


def test_nobody_is_compared_with_himself():
    index = Index.build(
        [IndexedPerson("a", "a"), IndexedPerson("b", "b")], [faces(3, 1), faces(2, 2)], dimension=16
    )
    found = compare_tracks(index, [faces(4, 3), faces(2, 4)])
    assert len(found) == len(found.one) == len(found.other) == 1 + (4 + 2) * 2 + 4 * 2
    assert (found.one != found.other).all()
    pairs = set(zip(found.one.tolist(), found.other.tolist(), strict=True))
    assert pairs == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_the_fewer_people_the_more_careful_the_threshold():
    def threshold_over_fit(people: int) -> float:
        found = compare_tracks(Index.build((), (), dimension=32), _pictures(people, 12))
        careful, fit = Tail.fit_conservatively(found), Tail.fit(found.similarity)
        return careful.similarity(1e-5) - fit.similarity(1e-5)

    few, many = threshold_over_fit(20), threshold_over_fit(150)
    assert few > many > 0


def _pictures(people: int, each: int) -> list[np.ndarray]:
    """So many pictures a person, much alike, as those of one video are."""
    grain = faces(people * each, 5, 32).reshape(people, each, 32)
    near = faces(people, 6, 32)[:, None] + 0.4 * grain
    return list((near / np.linalg.norm(near, axis=2, keepdims=True)).astype(np.float32))
