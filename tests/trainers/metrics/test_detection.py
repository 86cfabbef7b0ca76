"""Metrics: equal to pycocotools, and what pycocotools does not say."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.types import F32, I32, Detections
from trainers.metrics import detection as metrics

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Truth:
    xyxy: F32
    class_id: I32


def _boxes(rng: np.random.Generator, n: int, *, integer: bool) -> np.ndarray:
    low = rng.uniform(0, 200, (n, 2))
    size = np.exp(rng.uniform(np.log(4), np.log(180), (n, 2)))
    xyxy = np.concatenate([low, low + size], 1)
    return (np.round(xyxy) if integer else xyxy).astype(np.float32)


def scene(seed: int, pictures: int, *, integer: bool) -> tuple[list[Truth], list[Detections]]:
    """Random objects, and detections that are near some of them; equal scores occur."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 7))
        truth = Truth(_boxes(rng, n, integer=integer), rng.integers(0, 3, n).astype(np.int32))
        source = np.repeat(np.arange(n), rng.integers(0, 3, n))
        near = truth.xyxy[source] + rng.normal(0, 4, (len(source), 4))
        if integer:
            near = np.round(near)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        xyxy = np.concatenate([near, _boxes(rng, int(rng.integers(0, 4)), integer=integer)])
        class_id = rng.integers(0, 3, len(xyxy))
        right = rng.random(len(source)) < 0.8
        class_id[: len(source)][right] = truth.class_id[source[right]]
        score = np.round(rng.uniform(0.05, 1, len(xyxy)), 1 if integer else 6)
        truths.append(truth)
        found.append(
            Detections(
                xyxy.astype(np.float32), score.astype(np.float32),
                class_id.astype(np.int32),
            )
        )  # fmt: skip
    return truths, found


def pycocotools_stats(truths: list[Truth], found: list[Detections]) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def bbox(b: np.ndarray) -> list[float]:
        b = b.astype(np.float64)
        return [b[0], b[1], b[2] - b[0], b[3] - b[1]]

    notes = [
        {"image_id": p, "category_id": int(c) + 1, "bbox": bbox(b), "iscrowd": 0}
        for p, t in enumerate(truths)
        for b, c in zip(t.xyxy, t.class_id, strict=True)
    ]
    for n, note in enumerate(notes, 1):
        note |= {"id": n, "area": note["bbox"][2] * note["bbox"][3]}
    results = [
        {"image_id": p, "category_id": int(c) + 1, "bbox": bbox(b), "score": float(s)}
        for p, d in enumerate(found)
        for b, c, s in zip(d.xyxy, d.class_id, d.score, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": p} for p in range(len(truths))],
            "annotations": notes,
            "categories": [{"id": c + 1, "name": n} for c, n in enumerate(NAMES)],
        }
        truth.createIndex()
        answer = truth.loadRes(results)
        evaluation = COCOeval(truth, answer, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.booleans())
def test_average_precision_equals_pycocotools(seed: int, pictures: int, integer: bool):
    truths, found = scene(seed, pictures, integer=integer)
    if not any(len(d) for d in found):
        return  # pycocotools cannot load an empty answer
    ours = metrics.evaluate(truths, found, NAMES)
    ap, ap50, ap75, small, medium, large, _, _, ar100 = pycocotools_stats(truths, found)[:9]
    mine = ours.summary()
    for key, theirs in [
        ("ap", ap), ("ap50", ap50), ("ap75", ap75), ("ap_small", small),
        ("ap_medium", medium), ("ap_large", large), ("ar100", ar100),
    ]:  # fmt: skip
        expected = np.nan if theirs == -1 else theirs
        assert mine[key] == pytest.approx(expected, abs=1e-6, nan_ok=True), key


def test_more_than_a_hundred_detections_of_a_class_are_cut_as_in_pycocotools():
    rng = np.random.default_rng(3)
    truth = Truth(_boxes(rng, 5, integer=False), np.zeros(5, np.int32))
    xyxy = np.concatenate([_boxes(rng, 150, integer=False), truth.xyxy])
    found = Detections(xyxy, rng.uniform(0, 1, 155).astype(np.float32), np.zeros(155, np.int32))
    stats = pycocotools_stats([truth], [found])
    ours = metrics.evaluate([truth], [found], NAMES)
    assert ours.ap() == pytest.approx(stats[0], abs=1e-6)
    assert ours.recall() == pytest.approx(stats[8], abs=1e-6)


def test_perfect_detections_score_one_and_nothing_there_is_nan():
    truths, _ = scene(1, 5, integer=False)
    found = [Detections(t.xyxy, np.ones(len(t.xyxy), np.float32), t.class_id) for t in truths]
    ours = metrics.evaluate(truths, found, (*NAMES, "never"))
    assert ours.ap() == pytest.approx(1.0)
    assert np.isnan(ours.summary()["ap50/never"])


def test_pictures_drawn_twice_count_as_if_they_were_there_twice():
    truths, found = scene(7, 6, integer=False)
    draws = np.array([2, 0, 1, 3, 0, 1])
    twice = metrics.evaluate(
        [t for t, d in zip(truths, draws, strict=True) for _ in range(d)],
        [f for f, d in zip(found, draws, strict=True) for _ in range(d)],
        NAMES,
    )
    assert metrics.evaluate(truths, found, NAMES).ap(draws=draws) == pytest.approx(twice.ap())


def test_interval_holds_the_value_and_narrows_with_more_pictures():
    few = metrics.evaluate(*scene(5, 6, integer=False), NAMES)
    many = metrics.evaluate(*scene(5, 60, integer=False), NAMES)
    intervals = [e.interval(lambda d, e=e: e.ap(iou=0.5, draws=d), draws=60) for e in (few, many)]
    for interval in intervals:
        assert interval.low <= interval.value <= interval.high
    assert intervals[1].high - intervals[1].low < intervals[0].high - intervals[0].low
    assert intervals[0].n == 6


def test_operating_point_counts_found_false_and_missed():
    truth = Truth(np.float32([[0, 0, 10, 10], [20, 20, 30, 30]]), np.int32([0, 1]))
    found = Detections(
        np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [50, 50, 60, 60]]),
        np.float32([0.9, 0.8, 0.7, 0.1]),
        np.int32([0, 0, 0, 1]),
    )
    point = metrics.evaluate_at([truth], [found], score=0.5)
    # the double and the one of the wrong class are false, the faint one is below the threshold
    assert (point.true[0], point.false[0], point.missed[0]) == (1, 2, 1)
    assert point.recall().value == pytest.approx(0.5)
    assert point.precision().value == pytest.approx(1 / 3)
    assert point.false_per_picture().value == pytest.approx(2)


def test_confusion_tells_wrong_names_misses_and_phantoms_apart():
    truth = Truth(np.float32([[0, 0, 10, 10], [20, 20, 30, 30]]), np.int32([0, 1]))
    found = Detections(
        np.float32([[0, 0, 10, 10], [50, 50, 60, 60]]), np.float32([0.9, 0.9]), np.int32([1, 0])
    )
    table = metrics.confusion([truth], [found], 2)
    assert table.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    nothing = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    assert metrics.confusion([nothing], [found], 2).tolist() == [[0] * 3, [0] * 3, [1, 1, 0]]
    assert metrics.confusion([truth], [Detections.empty()], 2)[:, 2].tolist() == [1, 1, 0]


def test_landmark_error_is_a_share_of_the_eye_distance_and_leaves_unknown_points_out():
    truth = np.zeros((2, 5, 2), np.float32)
    truth[:, 1, 0] = 10
    truth[0, 4] = np.nan
    truth[1, 0] = np.nan
    errors = metrics.landmark_errors(truth, np.nan_to_num(truth) + np.float32([0, 1]))
    assert errors[0] == pytest.approx(0.1)
    assert np.isnan(errors[1])
    interval = metrics.mean_interval([0.1, 0.3, np.nan], ["x", "y", "z"])
    assert interval.value == pytest.approx(0.2)
    assert interval.n == 2


def test_unequal_numbers_of_pictures_are_refused():
    with pytest.raises(ValueError, match="detections of 0"):
        metrics.evaluate([Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))], [], NAMES)
