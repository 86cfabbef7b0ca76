"""What a model cannot mean is never a finding, is counted, and makes the node say so."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.manifest import Manifest
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.output_check import (
    BROKEN_AFTER,
    WELL_AFTER,
    OutputCheck,
    RefusalReason,
    Refusals,
    RowCheck,
)
from edge.runtimes.onnx import Options, build
from edge.types import Frame, RgbPicture
from tests.support.models import constant_model

NAN, INF = np.nan, np.inf
FAR = float(np.float32(1e30))
GOOD = [1, 1, 9, 9, 0.9, 0]
REFUSED = [
    ([NAN, 1, 9, 9, 0.9, 0], "not_finite"),
    ([1, 1, 9, 9, NAN, 0], "not_finite"),
    ([1, 1, 9, 9, 0.9, INF], "not_finite"),
    ([1, 1, 9, 9, 5, 0], "score"),
    ([1, 1, 9, 9, -0.5, 0], "score"),
    ([1, 1, 9, 9, 0.9, 99], "unknown_class"),
    ([1, 1, 9, 9, 0.9, -1], "unknown_class"),
    ([1, 1, 9, 9, 0.9, 0.5], "unknown_class"),
    ([9, 1, 1, 9, 0.9, 0], "no_area"),
    ([1, 5, 9, 5, 0.9, 0], "no_area"),
    ([-1e30, 1, 1e30, 9, 0.9, 0], "outside"),
    ([1, 20, 9, 30, 0.9, 0], "outside"),  # below the picture, which fills the upper half
]


def frame():
    return Frame("door", 1, 1, 0.0, 0.0, RgbPicture(np.zeros((32, 64, 3), np.uint8)))


def load(folder, task, outputs, classes=()):
    path = folder / "model.onnx"
    path.write_bytes(constant_model(task, outputs, classes))
    return load_model(task, build(Options(threads=1)), path)


def counted(check):
    refused = Refusals()
    check.on_refused = lambda reason, count: refused.update({reason: count})
    return refused


@pytest.mark.parametrize(("row", "reason"), REFUSED)
def test_a_row_that_cannot_be_true_is_no_detection_and_is_counted(tmp_path, row, reason):
    rows = np.array([GOOD, row], np.float32)
    detector = load(tmp_path, "detect", {"detections": rows}, "ab")
    refused = counted(detector.check)
    (found,) = detector.detect([frame()])
    assert found.score.tolist() == pytest.approx([0.9])
    assert refused == {reason: 1}


@pytest.mark.parametrize(
    ("row", "reason"), [pair for pair in REFUSED if pair[1] != "unknown_class"]
)
def test_a_face_that_cannot_be_true_is_no_face_and_is_counted(tmp_path, row, reason):
    outputs = {"detections": np.array([row], np.float32), "landmarks": np.ones((1, 5, 2))}
    finder = load(tmp_path, "faces", outputs)
    refused = counted(finder.check)
    assert len(finder.find([frame()])[0]) == 0
    assert refused == {reason: 1}


def test_a_score_a_rounding_above_one_is_one(tmp_path):
    rows = np.array([[1, 1, 9, 9, 1.0005, 0]], np.float32)
    (found,) = load(tmp_path, "detect", {"detections": rows}, "a").detect([frame()])
    assert found.score.tolist() == [1]


def test_rows_behind_unused_ones_are_seen(tmp_path):
    rows = np.array([[0] * 6, GOOD, [0] * 6], np.float32)
    (found,) = load(tmp_path, "detect", {"detections": rows}, "a").detect([frame()])
    assert len(found) == 1


@given(
    rows=arrays(
        np.float32,
        (6, 6),
        elements=st.one_of(
            st.floats(width=32), st.sampled_from([0.0, 0.5, 1.0, 5.0, 9.0, FAR, NAN, INF, -INF])
        ),
    )
)
def test_no_row_passes_that_is_not_a_box_with_a_score_and_a_class(rows):
    check = RowCheck(Manifest(task="detect", name="m", input_wh=(32, 32), classes=("a", "b")))
    refused = Refusals()
    kept = rows[check.select(rows, refused)]
    assert len(kept) + refused.total() == len(rows)
    assert np.isfinite(kept).all()
    assert ((kept[:, 4] >= 0) & (kept[:, 4] <= 1.001)).all()
    assert np.isin(kept[:, 5], [0, 1]).all()
    assert (kept[:, 2:4] > kept[:, :2]).all()
    assert (np.abs(kept[:, :4]) <= 4 * 32).all()


class Gives:
    """A session that gives the same output for each call."""

    def __init__(self, **outputs):
        self.outputs, self.metadata = outputs, {}

    def infer(self, batch):
        return self.outputs

    def close(self):
        pass


def test_an_embedding_without_length_or_number_resembles_nobody():
    vectors = np.array([[0.6, 0.8], [0, 0], [NAN, 1], [3, 4]], np.float32)
    manifest = Manifest(task="embed", name="m", input_wh=(112, 112))
    model = ContractEmbedder(Gives(embeddings=vectors), manifest, "", 2)
    refused = counted(model.check)
    given = model.embed(np.zeros((4, 112, 112, 3), np.uint8))
    assert np.isnan(given).all(axis=1).tolist() == [False, True, True, True]
    assert refused == {"length": 2, "not_finite": 1}


def test_a_liveness_answer_that_is_no_probability_is_counted():
    manifest = Manifest(task="liveness", name="m", input_wh=(8, 8))
    model = ContractLiveness(Gives(live=np.array([0.7, NAN, 1.5], np.float32)), manifest, "")
    refused = counted(model.check)
    model.live(np.zeros((3, 1, 8, 8, 3), np.uint8))
    assert refused == {"not_finite": 1, "score": 1}


# --- broken, and well again -------------------------------------------------------------------

BAD = {RefusalReason.NOT_FINITE: 1}


@pytest.fixture
def check():
    check = OutputCheck("the detect model m")
    check.changes = []
    check.on_change = check.changes.append
    return check


def test_a_model_is_broken_after_that_many_bad_batches_and_says_so_once(check, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(BROKEN_AFTER - 1):
        check.record(BAD, 0)
    assert not check.changes
    for _ in range(5):
        check.record(BAD, 0)
    assert len(check.changes) == len(caplog.records) == 1
    assert "not_finite" in check.problem
    assert "the detect model m is broken" in caplog.text


def test_batches_without_rows_do_not_hide_a_broken_model(check):
    for _ in range(BROKEN_AFTER):
        check.record(BAD, 0)
        check.record({}, 0)
    assert check.problem


def test_a_model_that_mostly_finds_is_not_broken_by_some_odd_rows(check):
    for _ in range(50):
        check.record(BAD, 4)
    assert not check.problem


def test_a_broken_model_is_well_again_when_its_rows_are(check, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(BROKEN_AFTER):
        check.record(BAD, 0)
    for _ in range(WELL_AFTER - 1):
        check.record({}, 1)
    assert check.problem
    check.record({}, 0)
    assert not check.problem
    assert check.changes[-1] == ""
    assert "works again" in caplog.text
    check.record(BAD, 0)
    assert not check.problem, "a single bad batch later is not enough"


def test_a_manifest_without_classes_has_no_class_that_could_be_found(tmp_path):
    rows = np.array([GOOD], np.float32)
    detector = load(tmp_path, "detect", {"detections": rows})
    refused = counted(detector.check)
    assert len(detector.detect([frame()])[0]) == 0
    assert json.loads(json.dumps(refused)) == {"unknown_class": 1}
