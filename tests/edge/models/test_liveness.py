"""Liveness networks: what they see, and that no nonsense of theirs is ever a probability."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deploy.adopt.minifasnet import adopt_minifasnet
from edge import plugins
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.models.contract import load_model
from edge.models.liveness import ContractLiveness
from edge.types import Frame
from edge.vision.image_file import read_picture
from tests.support.models import NOBODY, NOTHING, constant_model


class Says:
    """A session that gives these numbers."""

    def __init__(self, *live: float) -> None:
        self.metadata: dict[str, str] = {}
        self._live = np.array(live, np.float32)

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return {"live": self._live}

    def close(self) -> None:
        pass


MANIFEST = Manifest(task="liveness", name="m", input_wh=(8, 8), crop_scales=(2.7, 4.0))


def test_what_is_no_probability_is_no_number():
    model = ContractLiveness(Says(0.7, math.nan, 1.5, -0.1, math.inf), MANIFEST, "")
    live = model.live(np.zeros((5, 2, 8, 8, 3), np.uint8))
    assert np.isfinite(live).tolist() == [True] + [False] * 4


def test_another_number_of_answers_is_no_answer():
    live = ContractLiveness(Says(0.9), MANIFEST, "").live(np.zeros((2, 2, 8, 8, 3), np.uint8))
    assert np.isnan(live).tolist() == [True, True]


def test_a_model_of_another_task_is_refused(tmp_path):
    outputs = {"detections": NOTHING, "landmarks": NOBODY}
    (tmp_path / "faces.onnx").write_bytes(constant_model("faces", outputs))
    with pytest.raises(ModelError, match="liveness"):
        load_model(
            "liveness", plugins.create("runtimes", {"kind": "onnx"}), tmp_path / "faces.onnx"
        )


def test_minifasnet_tells_the_living_from_the_screen(shared_data, adopted_yunet, tmp_path):
    folder = shared_data / "models"
    files = [(folder / f"minifasnet_live_{row}.onnx").read_bytes() for row in (1, 2)]
    (tmp_path / "live.onnx").write_bytes(adopt_minifasnet(files, "minifasnet"))
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    finder, model = (
        load_model("faces", runtime, adopted_yunet),
        load_model("liveness", runtime, tmp_path / "live.onnx"),
    )
    live = {}
    for name in ("T1", "F1"):
        picture = read_picture(shared_data / "liveness" / f"image_{name}.jpg")
        (faces,) = finder.find([Frame("a", 0, 0, 0, 0, picture)])
        crops = model.crops(picture, faces.xyxy[int(faces.score.argmax())])
        live[name] = float(model.live(crops[None])[0])
    assert live["T1"] > 0.98
    assert live["F1"] < 0.25


def test_two_networks_that_are_none_are_refused(shared_data):
    yunet = (shared_data / "models" / "yunet_n_dynamic.onnx").read_bytes()
    with pytest.raises(ModelError, match="minifasnet"):
        adopt_minifasnet([yunet], "x")
