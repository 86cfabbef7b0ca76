"""A classifier that is exported gives what Keras gives, and the contract holds it to that."""

import json
from dataclasses import replace

import cv2
import keras
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from deploy.export.classifier import export_classifier
from deploy.graph.manifest import Provenance
from edge.cli import app
from edge.errors import ModelError
from edge.manifest import KEY
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import RgbPicture
from trainers.metrics.classes import to_probabilities
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig

CONFIGS = {
    "slim": ClassifierConfig(("open", "closed", "ajar"), (64, 32), width=0.1, temperature=1.7),
    "independent": ClassifierConfig(("vest", "helmet"), (32, 32), width=0.1, independent=True),
    "published, cut": ClassifierConfig(
        ("a", "b"), (32, 64), backbone="vgg16", width=0.1, convention="published",
        cut="backbone_block3_conv3_act", norm="none",
    ),
}  # fmt: skip


def exported(tmp_path, config):
    network = classifier.build(config)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = tmp_path / "model.onnx"
    path.write_bytes(export_classifier(network, config, Provenance("gate", "MIT", "drawn")))
    return network, path


@pytest.mark.parametrize("name", CONFIGS)
def test_the_file_gives_what_the_network_gives(tmp_path, name):
    config = CONFIGS[name]
    network, path = exported(tmp_path, config)
    model = load_model("classify", build(Options()), path)
    assert model.classes == config.classes
    assert model.independent == config.independent
    width, height = config.input_wh
    crops = np.random.default_rng(1).integers(0, 256, (5, height, width, 3)).astype(np.uint8)
    logits = keras.ops.convert_to_numpy(network(crops.astype(np.float32)))
    expected = to_probabilities(logits, config.temperature, independent=config.independent)
    np.testing.assert_allclose(model.classify(crops), expected, atol=1e-4)
    assert model.classify(crops[:0]).shape == (0, len(config.classes))


def test_a_box_is_cut_out_with_its_margin_and_letterboxed(tmp_path):
    config = replace(CONFIGS["slim"], margin=0.5, input_wh=(32, 32))
    _, path = exported(tmp_path, config)
    model = load_model("classify", build(Options()), path)
    rgb = np.random.default_rng(2).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    box = np.array([40, 50, 56, 58], np.float32)  # with its margin 36..60, 48..60
    cut = model.cut(RgbPicture(rgb), box)
    scale = 32 / 24
    assert (cut[round(12 * scale) :] == model.manifest.letterbox_fill).all()
    np.testing.assert_allclose(cut[2:14].mean((0, 1)), rgb[49:59, 36:60].mean((0, 1)), atol=12)
    corner = np.array([-20, -20, 3, 3], np.float32)
    assert model.cut(RgbPicture(rgb), corner).shape == (32, 32, 3)


class Lying:
    """A session that gives what it is told."""

    def __init__(self, rows):
        self._rows = np.array(rows, np.float32)

    def infer(self, crops):
        return {"probabilities": self._rows[: len(crops)]}


def test_what_cannot_be_true_decides_nothing(tmp_path):
    _, path = exported(tmp_path, replace(CONFIGS["slim"], classes=("a", "b")))
    model = load_model("classify", build(Options()), path)
    model._session = Lying([[0.25, 0.75], [np.nan, 1], [0.9, 0.9], [-0.5, 1.5]])
    found = model.classify(np.zeros((4, 32, 64, 3), np.uint8))
    assert found[0].tolist() == [0.25, 0.75]
    assert np.isnan(found[1:]).all()
    model._session = Lying([[0.25, 0.5, 0.25]])
    assert np.isnan(model.classify(np.zeros((1, 32, 64, 3), np.uint8))).all()


def test_a_file_with_other_classes_than_outputs_is_refused(tmp_path):
    _, path = exported(tmp_path, CONFIGS["slim"])
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == KEY:
            entry.value = entry.value.replace('"open","closed","ajar"', '"open","closed"')
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="3 outputs and names 2 classes"):
        load_model("classify", build(Options()), path)


def test_edge_classify_tells_the_class_of_pictures(tmp_path):
    _, path = exported(tmp_path, CONFIGS["slim"])
    cv2.imwrite(str(tmp_path / "gate.png"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    run = CliRunner(env={"COLUMNS": "200"})
    done = run.invoke(
        app, ["classify", str(tmp_path / "gate.png"), str(tmp_path / "broken.png"),
              "--model", str(path)],
    )  # fmt: skip
    assert done.exit_code == 0
    assert "gate.png" in done.stdout
    assert any(name in done.stdout for name in CONFIGS["slim"].classes)
    assert "broken.png" in done.stderr
    words = ["classify", str(tmp_path / "gate.png"), "--model", str(path)]
    done = run.invoke(app, [*words, "--detector", "zoo:detect-nano", "--faces", "zoo:faces-nano"])
    assert done.exit_code == 0  # of a black picture nothing is found
    assert "gate.png" not in done.stdout
    done = run.invoke(app, ["classify", str(tmp_path / "gate.png"), "--model", "zoo:detect-nano"])
    assert done.exit_code == 78
    assert "detect" in done.stderr


def test_edge_classify_tells_the_class_of_what_is_found(tmp_path, shared_data):
    _, path = exported(tmp_path, CONFIGS["slim"])
    picture = shared_data / "gallery_video" / "obama2.jpg"
    run = CliRunner(env={"COLUMNS": "200"})
    words = ["classify", str(picture), "--model", str(path), "--faces", "zoo:faces-nano"]
    done = run.invoke(app, words)
    assert done.exit_code == 0
    assert "face" in done.stdout
    done = run.invoke(app, [*words, "--detector", "zoo:detect-nano", "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["label"] for row in rows} >= {"person", "face"}
    for row in rows:
        x1, y1, x2, y2 = row["box"]
        assert x1 < x2
        assert y1 < y2
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-3)
