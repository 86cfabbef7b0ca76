"""Detector and face finder: contract rows become findings in source pixels."""

import hashlib

import numpy as np
import pytest

from edge.errors import ModelError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import Frame, RgbPicture
from tests.support.models import constant_model, without_manifest

RUNTIME = build(Options(threads=1))
NAN = np.nan


def frame(width=64, height=32):
    return Frame("door", 1, 1, 0.0, 0.0, RgbPicture(np.zeros((height, width, 3), np.uint8)))


@pytest.fixture
def load(tmp_path):
    def make(task, outputs, sha256="", **options):
        path = tmp_path / "model.onnx"
        path.write_bytes(constant_model(task, outputs, **options))
        return load_model(task, RUNTIME, path, sha256)

    return make


def rows(*values):
    return np.array(values, np.float32)


def test_boxes_come_back_in_pixels_of_each_source(load):
    detector = load(
        "detect", {"detections": rows([4, 2, 20, 10, 0.9, 1], [0, 0, 32, 32, 0.5, 0])}, classes="ab"
    )
    wide, tall = detector.detect([frame(64, 32), frame(100, 200)])  # into 32 x 32
    np.testing.assert_allclose(wide.xyxy, [[8, 4, 40, 20], [0, 0, 64, 32]])
    np.testing.assert_allclose(tall.xyxy, [[25, 12.5, 100, 62.5], [0, 0, 100, 200]], rtol=1e-5)
    np.testing.assert_array_equal(wide.class_id, [1, 0])
    np.testing.assert_allclose(wide.score, [0.9, 0.5])


@pytest.mark.parametrize(
    "row",
    [
        [NAN, 1, 9, 9, 0.9, 0],
        [1, 1, 9, 9, NAN, 0],
        [1, 1, 9, 9, 0.9, NAN],
        [1, 1, np.inf, 9, 0.9, 0],
        [5, 5, 5, 9, 0.9, 0],  # no area
        [9, 9, 5, 5, 0.9, 0],  # inverted
        [1, 20, 9, 30, 0.9, 0],  # wholly below the picture, which fills the upper half
        [1, 1, 9, 9, 0.9, 2],  # no such class
        [1, 1, 9, 9, 0.9, -1],
    ],
)
def test_a_row_that_is_no_object_is_dropped(load, row):
    found_rows = rows(row, [1, 1, 9, 9, 0.8, 1], [0] * 6)
    detector = load("detect", {"detections": found_rows}, classes="ab")
    (found,) = detector.detect([frame()])
    np.testing.assert_array_equal(found.class_id, [1])
    np.testing.assert_allclose(found.xyxy, [[2, 2, 18, 18]])


def test_faces_bring_their_landmarks_in_source_pixels(load):
    points = np.arange(20, dtype=np.float32).reshape(2, 5, 2) / 2
    finder = load(
        "faces",
        {"detections": rows([NAN, 2, 20, 10, 0.9, 0], [4, 2, 20, 10, 0.7, 0]), "landmarks": points},
    )
    (faces,) = finder.find([frame()])
    np.testing.assert_allclose(faces.landmarks, points[1:] * 2)
    np.testing.assert_allclose(faces.xyxy, [[8, 4, 40, 20]])
    np.testing.assert_array_equal(faces.track_row, [-1])
    np.testing.assert_array_equal(faces.quality, [0])


def test_a_face_with_a_landmark_that_is_no_number_is_dropped(load):
    points = np.ones((1, 5, 2), np.float32)
    points[0, 3, 1] = NAN
    finder = load("faces", {"detections": rows([4, 2, 20, 10, 0.9, 0]), "landmarks": points})
    assert len(finder.find([frame()])[0]) == 0


def test_no_frames_give_no_results(load):
    detector = load("detect", {"detections": rows([4, 2, 20, 10, 0.9, 0])}, classes="a")
    assert detector.detect([]) == []


def test_batches_may_grow_and_shrink_and_earlier_results_stay(load):
    detector = load("detect", {"detections": rows([4, 2, 20, 10, 0.9, 0])}, classes="a")
    first = detector.detect([frame()])[0]
    for count in (3, 16, 2):
        assert len(detector.detect([frame()] * count)) == count
    np.testing.assert_allclose(first.xyxy, [[8, 4, 40, 20]])


def test_a_model_tells_its_name_its_hash_and_its_classes(load, tmp_path):
    detector = load("detect", {"detections": rows([0] * 6)}, classes=("cat", "dog"))
    digest = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert (detector.name, detector.classes, detector.sha256) == (
        "constant", ("cat", "dog"), digest,
    )  # fmt: skip
    assert load("detect", {"detections": rows([0] * 6)}, digest, classes=("cat", "dog"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (constant_model("faces", {"detections": rows([0] * 6)}), "a faces model"),
        (constant_model("detect", {"boxes": rows([0] * 6)}), "'detections'"),
        (constant_model("detect", {"detections": rows([0] * 5)}), "N, K, 6"),
        (without_manifest(constant_model("detect", {"detections": rows([0] * 6)})), "adopt it"),
        (b"", "empty"),
        (b"text", "not an ONNX model"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(tmp_path, model, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    with pytest.raises(ModelError, match=message) as caught:
        load_model("detect", RUNTIME, path)
    assert str(path) in str(caught.value)


def test_a_face_model_without_landmarks_is_refused(load):
    with pytest.raises(ModelError, match="'landmarks'"):
        load("faces", {"detections": rows([0] * 6)})
    with pytest.raises(ModelError, match="N, K, 5, 2"):
        load("faces", {"detections": rows([0] * 6), "landmarks": np.zeros((1, 10), np.float32)})


def test_a_pinned_hash_that_differs_is_refused(load):
    with pytest.raises(ModelError, match="pins"):
        load("detect", {"detections": rows([0] * 6)}, sha256="0" * 64)
