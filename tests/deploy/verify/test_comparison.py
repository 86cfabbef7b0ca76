"""Outputs that differ are found, and shown; borderline decisions are not held against an engine."""

import json

import numpy as np
import pytest

from deploy.verify.comparison import Comparison, ComparisonReport, VectorComparison, match
from edge.manifest import Manifest

MANIFEST = Manifest(
    task="detect", name="m", input_wh=(64, 64), score_threshold=0.1, iou_threshold=0.65
)
A = [0, 0, 10, 10, 0.9, 0]
B = [20, 20, 40, 40, 0.8, 1]
C = [50, 0, 60, 9, 0.7, 0]


def output(*rows, size=5):
    """Rows of one picture, padded as the contract wants it."""
    found = np.zeros((size, 6), np.float32)
    for slot, row in zip(found, rows, strict=False):
        slot[:] = row
    return found


def changed(row, **by):
    """A row with a coordinate (`px`), its score or class moved."""
    x1, y1, x2, y2, score, kind = row
    return [x1, y1, x2 + by.get("px", 0), y2, score + by.get("score", 0), kind + by.get("kind", 0)]


def compare(reference, other):
    result = Comparison("other")
    result.add("a.jpg", reference, other, MANIFEST)
    return result


@pytest.mark.parametrize(
    ("other", "failures"),
    [
        (output(A, B, C), 0),
        (output(changed(A, px=0.4), B, C), 0),
        (output(changed(A, px=0.6), B, C), 1),
        (output(changed(A, score=0.0009), B, C), 0),
        (output(changed(A, score=-0.002), B, C), 1),
        (output(changed(A, kind=1), B, C), 2),  # one lost, one too many
        (output(B, A, C), 0),  # order among equals is nobody's promise; scores tell
        (output(A, C), 1),
        (output(A, B, C, [30, 0, 40, 9, 0.5, 0]), 1),
        (output(), 3),
        (output([np.nan] * 6, B, C), 1),
    ],
    ids=["same", "near", "far", "score near", "score far", "class", "order", "lost", "additional",
         "nothing", "NaN"],
)  # fmt: skip
def test_rows_are_matched_one_by_one(other, failures):
    assert len(compare(output(A, B, C), other).failures) == failures


def test_coarser_arithmetic_may_differ_by_more():
    for slack, failures in ((1, 2), (8, 0)):
        result = Comparison("other", slack)
        other = output(changed(A, px=3), changed(B, score=-0.006), C)
        result.add("a.jpg", output(A, B, C), other, MANIFEST)
        assert len(result.failures) == failures


def test_two_rows_are_never_matched_with_the_same_one():
    rows = np.float32([A, A])
    pairs, lost, extra = match(rows, rows[:1])
    assert (len(pairs), len(lost), extra) == (1, 1, [])


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        (output(A, [50, 50, 60, 60, 0.1004, 0]), output(A)),  # just reached the threshold
        (output(A, [0, 0, 10, 6.51, 0.5, 0]), output(A)),  # IoU with A is 0.651
        (output(A, B, size=2), output(A, [20, 0, 30, 9, 0.8004, 1], size=2)),  # both full
    ],
    ids=["threshold", "overlap", "full"],
)
def test_a_decision_on_an_edge_may_turn_over(reference, other):
    result = compare(reference, other)
    assert not result.failures
    assert result.borderline >= 1


def test_the_worst_case_is_a_row_that_is_missing_before_one_that_moved():
    result = compare(output(A, B, C), output(changed(A, px=5), C))
    assert len(result.failures) == 2
    assert result.worst.reference.tolist() == np.float32(B).tolist()


def test_points_are_compared_like_corners():
    reference = np.zeros((2, 16), np.float32)
    reference[0] = [*A, *range(10)]
    other = reference.copy()
    other[0, 15] += 0.6
    result = compare(reference, other)
    assert result.worst.box_px == pytest.approx(0.6, abs=1e-5)


# --- one answer a picture ---------------------------------------------------------------------

ALONG = np.float32([1, 0, 0])


def turned(cosine, length=1.0):
    """A description at this cosine from ``ALONG``."""
    return np.float32([cosine, np.sqrt(1 - cosine**2), 0]) * np.float32(length)


def answered(task, reference, *others, slack=1.0):
    result = VectorComparison("other", slack)
    for count, other in enumerate(others):
        manifest = Manifest(task=task, name="m", input_wh=(8, 8))
        result.add(f"{count}.jpg", np.float32(reference), np.float32(other), manifest)
    return result


@pytest.mark.parametrize(
    ("task", "reference", "other", "failures"),
    [
        ("embed", ALONG, ALONG, 0),
        ("embed", ALONG, turned(0.9995), 0),
        ("embed", ALONG, turned(0.998), 1),
        ("embed", ALONG, -ALONG, 1),
        ("embed", ALONG, turned(1, length=2), 1),  # the same cosine, but the contract says 1
        ("embed", ALONG, ALONG * 0, 1),
        ("embed", ALONG, ALONG[:1], 1),
        ("embed", ALONG, [np.nan, 0, 0], 1),
        ("liveness", 0.5, 0.5005, 0),
        ("liveness", 0.5, 0.502, 1),
        ("liveness", 0.5, 0.498, 1),
        ("liveness", 0.5, np.nan, 1),
        ("liveness", np.nan, np.nan, 1),
    ],
)
def test_answers_are_compared_picture_by_picture(task, reference, other, failures):
    assert len(answered(task, reference, other).failures) == failures


def test_answers_of_coarser_arithmetic_may_differ_by_more():
    for slack, failures in ((1, 1), (8, 0)):
        result = answered("embed", ALONG, turned(0.995), slack=slack)
        assert len(result.failures) == failures


def test_the_worst_answer_is_the_furthest_and_none_is_worse_than_no_number():
    result = answered("liveness", 0.5, 0.5001, 0.6, 0.9, 0.7)
    assert result.worst == ("2.jpg", pytest.approx(0.4))
    assert result.furthest == pytest.approx(1e-4, rel=0.01)  # of those that are the same
    assert answered("liveness", 0.5, 0.9, np.nan, 1.0).worst[0] == "1.jpg"


def test_a_report_of_answers_is_a_sentence_and_json():
    result = answered("liveness", 0.5, 0.5, 0.75, np.nan)
    report = ComparisonReport("onnx", [result, answered("liveness", 0.5, 0.5)], {})
    assert report.failed
    assert str(report).splitlines() == [
        "other against onnx: 3 pictures, 2 differ; the others by at most 0.0e+00",
        "worst: 2.jpg, by nan",
        "other against onnx: 1 picture, 0 differ; the others by at most 0.0e+00",
    ]
    first, second = json.loads(report.to_json(), parse_constant=pytest.fail)["engines"]
    assert first["worst"] == {"picture": "2.jpg", "by": None}
    assert (second["differ"], second["worst"]) == (0, None)
