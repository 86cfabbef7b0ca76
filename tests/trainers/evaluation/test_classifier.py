"""Evaluation of classifiers: what is shown to the model, and what is said of its answers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.export.classifier import export_classifier
from deploy.graph.manifest import Provenance
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.models.classifier import ContractClassifier
from trainers.commands.app import app
from trainers.data.class_data import read_class_data
from trainers.evaluation.classifier import draw, evaluate_classifier
from trainers.networks.classifier import build
from trainers.networks.config import ClassifierConfig

MANIFEST = Manifest(task="classify", name="side", input_wh=(32, 32), classes=("left", "right"))


class Brighter:
    """Says on which side a crop is brighter, right more surely; keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def infer(self, crops):
        self.shown += list(crops)
        halves = crops.astype(float).mean((1, 3)).reshape(len(crops), 2, -1).mean(2)
        right = np.where(halves[:, 1] > halves[:, 0], 0.9, 0.2)
        return {"probabilities": np.stack([1 - right, right], 1).astype(np.float32)}


def draw_sides(folder, count=6):
    rng = np.random.default_rng(0)
    for n in range(count):
        for name, bright in (("left", slice(0, 20)), ("right", slice(20, 40))):
            image = rng.integers(0, 100, (40, 40, 3)).astype(np.uint8)
            image[:, bright] += 120
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{n}.png"), image)
    return read_class_data(folder)


def test_ten_crops_are_the_box_moved_to_its_corners_and_mirrored(tmp_path):
    dataset, session = draw_sides(tmp_path, 2), Brighter()
    result = evaluate_classifier(dataset, ContractClassifier(session, MANIFEST, ""), ten_crop=True)
    assert result.passes == 10
    assert len(session.shown) == 40
    for n in range(0, 40, 10):
        np.testing.assert_array_equal(session.shown[n + 5], session.shown[n][:, ::-1])
        assert not np.array_equal(session.shown[n], session.shown[n + 1])
    figures = result.figures
    assert figures["balanced accuracy"].value == 1
    assert figures["balanced accuracy, five crops"].value == 1
    assert figures["balanced accuracy, ten crops"].value == 0.5  # left and right are mirror images


def test_one_view_is_one_inference(tmp_path):
    dataset, session = draw_sides(tmp_path), Brighter()
    result = evaluate_classifier(dataset, ContractClassifier(session, MANIFEST, ""))
    assert len(session.shown) == 12
    assert result.figures["accuracy"].value == 1
    assert result.figures["calibration error"].value == pytest.approx(0.15, abs=1e-6)
    assert result.figures["AUROC left"].value == 1
    assert result.metrics.confusion.tolist() == [[6, 0], [0, 6]]
    assert "balanced accuracy, ten crops" not in result.figures


def test_a_model_that_gives_no_probabilities_is_refused(tmp_path):
    class Broken:
        def infer(self, crops):
            return {"probabilities": np.full((len(crops), 2), np.nan, np.float32)}

    with pytest.raises(ModelError, match="no probabilities: export it again"):
        evaluate_classifier(draw_sides(tmp_path), ContractClassifier(Broken(), MANIFEST, ""))


def test_the_worst_samples_and_the_curve_are_drawn(tmp_path):
    dataset, model = draw_sides(tmp_path / "data"), ContractClassifier(Brighter(), MANIFEST, "")
    paths = draw(dataset, model, evaluate_classifier(dataset, model), tmp_path / "drawn")
    assert [path.name for path in paths] == ["calibration.png", "worst.png", "confusion.png"]
    assert all(cv2.imread(str(path)) is not None for path in paths)


def test_the_command_prints_the_figures_of_all_views(tmp_path):
    draw_sides(tmp_path / "data")
    config = ClassifierConfig(("left", "right"), (32, 32), width=0.1)
    model = tmp_path / "side.onnx"
    model.write_bytes(export_classifier(build(config), config, Provenance("a", "MIT", "drawn")))
    words = ["evaluate", str(model), "--data", str(tmp_path / "data")]
    run = CliRunner(env={"COLUMNS": "200"})
    done = run.invoke(app, [*words, "--ten-crop", "--draw", str(tmp_path / "drawn")])
    assert done.exit_code == 0, done.output
    for figure in ("balanced accuracy", "AUROC right", "accuracy, ten crops", "10 inferences each"):
        assert figure in done.stdout
    for wrong, says in (
        ("--flip", "a classifier takes --ten-crop"),
        ("--part=test", "no such part"),
    ):
        done = run.invoke(app, [*words, wrong])
        assert done.exit_code == 78
        assert says in done.output
