"""A classifier is made smaller as far as its balanced accuracy allows, and verified."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from deploy.commands.app import app
from deploy.export.classifier import export_classifier
from deploy.graph.manifest import Provenance, read_manifest
from deploy.graph.session import open_infer
from deploy.quantize import accuracy
from deploy.quantize.accuracy import build_accuracy_check
from deploy.quantize.calibration_set import read_calibration_set
from deploy.verify.comparison import SLACK
from deploy.verify.verify import verify
from edge.errors import ConfigError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig

CONFIG = ClassifierConfig(("dark", "light"), (32, 32), width=0.2, norm="none", temperature=0.5)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixteen dark and sixteen light pictures in a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for n in range(32):
        name, level = ("dark", 40) if n % 2 else ("light", 160)
        (folder / name).mkdir(exist_ok=True)
        image = level + rng.integers(0, 60, (40, 36, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / name / f"{n}.png"), image)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, pictures):
    """A network of random weights, but for the last layer, which tells dark from light."""
    classifier.keras.utils.set_random_seed(0)
    network = classifier.build(CONFIG)
    last = network.get_layer("head_classes")
    features = classifier.keras.Model(network.input, network.get_layer("head_dropout").output)
    means = []
    for name in CONFIG.classes:
        image = cv2.imread(str(next((pictures / name).iterdir())))
        image = cv2.resize(image, CONFIG.input_wh)[None].astype(np.float32)
        means.append(np.asarray(features(image)).ravel())
    direction = means[1] - means[0]
    kernel = np.stack([-direction, direction], 1) / np.square(direction).sum()
    middle = (means[0] + means[1]) @ kernel / 2
    last.set_weights([kernel[None, None], -middle])
    path = tmp_path_factory.mktemp("model") / "light.onnx"
    path.write_bytes(export_classifier(network, CONFIG, Provenance("light", "MIT", "drawn")))
    return path


def run(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, words)))


def infer_plainly(path):
    """The same file in another engine: every operator by itself, integers as rounded floats."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: {"probabilities": session.run(None, {"images": images})[0]}


@pytest.mark.parametrize(("option", "precision"), [("--int8", "int8"), ("--fp16", "fp16")])
def test_a_smaller_classifier_decides_as_the_float_one_and_verifies(
    model, pictures, tmp_path, option, precision
):
    out = tmp_path / "small.onnx"
    done = run("quantize", model, option, "--data", pictures, "--out", out)
    assert done.exit_code == 0, done.output
    assert "balanced accuracy" in done.output
    assert f"classify PICTURE --model {out}" in done.output.replace("\n", " ")
    assert read_manifest(out.read_bytes(), "small").precision == precision
    small = load_model("classify", build(Options()), out)
    crops = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (60, 190)])
    assert small.classify(crops).argmax(1).tolist() == [0, 1]
    manifest = read_manifest(out.read_bytes(), "small")
    engines = {"plain": infer_plainly(out), "onnx": open_infer(out.read_bytes())}
    [result] = verify(manifest, engines, sorted(pictures.glob("*/*")), slack=SLACK[precision])
    assert result.pictures == 32
    assert not result.failures, result.describe("plain")


def test_the_first_layers_are_integers(model, pictures, tmp_path):
    out = tmp_path / "small.onnx"
    assert run("quantize", model, "--int8", "--data", pictures, "--out", out).exit_code == 0
    operators = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


def test_what_loses_too_much_is_refused(model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "CLASS_POINTS", -100.0)
    done = run("quantize", model, "--fp16", "--data", pictures, "--out", tmp_path / "small.onnx")
    assert done.exit_code == 1
    assert "--force" in done.output


def test_the_inputs_are_crops_as_the_daemon_cuts_them(model, pictures):
    manifest = read_manifest(model.read_bytes(), "light")
    inputs, labeled = read_calibration_set(manifest, pictures, None, 8, 400)
    assert inputs.shape == (8, 32, 32, 3)
    assert len(labeled) == 24
    check = build_accuracy_check(manifest, labeled, lambda _: {})
    assert check.inputs.shape == (24, 32, 32, 3)
    truth = np.stack([e.class_id == np.arange(2) for e in labeled.examples]).astype(np.float32)
    assert check.score({"probabilities": truth}) == {"balanced accuracy": 100}
    assert check.score({"probabilities": 1 - truth}) == {"balanced accuracy": 0}


def test_data_of_other_classes_are_refused(model, pictures, tmp_path):
    manifest = read_manifest(model.read_bytes(), "light").model_copy(
        update={"classes": ("open", "shut")}
    )
    _, labeled = read_calibration_set(manifest, pictures, None, 8, 400)
    with pytest.raises(ConfigError, match="knows open, shut, the data dark, light"):
        build_accuracy_check(manifest, labeled, lambda _: {})
