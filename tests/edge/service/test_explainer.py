"""The explainer asks `edge explain` in a process of its own."""

import cv2
import numpy as np
import pytest

from edge.config import ModelFile
from edge.errors import EdgeError
from edge.service import explainer
from edge.service.explainer import Explainer
from tests.support.models import constant_model

ROWS = np.array([[4, 2, 12, 10, 0.9, 1], [16, 16, 30, 30, 0.4, 1]], np.float32)


@pytest.fixture
def detector(tmp_path):
    model = constant_model("detect", {"detections": ROWS}, ("person", "dog"))
    (tmp_path / "detector.onnx").write_bytes(model)
    cv2.imwrite(str(tmp_path / "a b.jpg"), np.full((64, 64, 3), 90, np.uint8))
    return Explainer(ModelFile(path="detector.onnx"), tmp_path)


def test_the_object_that_is_nearest_is_explained(tmp_path, detector):
    found = detector.explain(tmp_path / "a b.jpg", "dog", (0.72, 0.72))
    assert (found.label, found.score, found.inside) == ("dog", pytest.approx(0.4), None)
    assert found.patches == found.planned
    drawn = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (64, 64, 3)


def test_what_is_not_found_is_told(tmp_path, detector):
    with pytest.raises(EdgeError, match=r"cannot be explained: .*finds no person"):
        detector.explain(tmp_path / "a b.jpg", "person", (0.5, 0.5))


def test_what_takes_too_long_is_ended(tmp_path, detector, monkeypatch):
    monkeypatch.setattr(explainer, "DEADLINE_S", 0.05)
    with pytest.raises(EdgeError, match="no time to spare"):
        detector.explain(tmp_path / "a b.jpg", "dog", (0.5, 0.5))
