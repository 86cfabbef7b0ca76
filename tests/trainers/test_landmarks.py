"""A network of 68 points learns drawn faces; its file gives what Keras gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.commands.app import app as deploy_app
from deploy.export.landmarks import export_landmarks
from deploy.graph.manifest import Provenance
from edge.errors import ModelError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import RgbPicture
from edge.vision.face_crops import FACE_POINTS, align_face, fit_alignment
from tests.support.drawn_faces import write_faces
from trainers.commands.app import app as train_app
from trainers.data.face_points import read_face_points
from trainers.data.points68 import select_five
from trainers.input.aligned_faces import AlignedFaces, crop_face, get_eyes_px
from trainers.landmarks import LandmarkJob, train_landmarks
from trainers.networks import landmarks
from trainers.networks.config import LandmarkConfig, Norm
from trainers.run.settings import Settings

TINY = LandmarkConfig((32, 32), width=0.25, shape=16, norm="none")


def exported(folder: Path, config: LandmarkConfig = TINY) -> tuple[keras.Model, Path]:
    network = landmarks.build(config)
    landmarks.begin_with(network, np.full((68, 2), 11.0, np.float32))
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = folder / "points.onnx"
    path.write_bytes(export_landmarks(network, config, Provenance("points", "MIT", "drawn")))
    return network, path


def test_drawn_faces_are_learned(tmp_path: Path):
    data = write_faces(tmp_path / "data", 40, 2)
    settings = Settings(epochs=25, batch=8, learning_rate=5e-3, strength=0.0, validate_every=5)
    config = replace(TINY, norm="batch")
    job = LandmarkJob(data=data, out=tmp_path / "run", config=config, settings=settings)
    start = train_landmarks(
        replace(job, out=tmp_path / "start", settings=replace(settings, epochs=0))
    )
    folder = train_landmarks(job)
    assert folder.read("metrics.json")["nme"] < 0.8 * start.read("metrics.json")["nme"]
    assert folder.kind == "landmarks"


def test_an_untrained_network_gives_the_mean_face():
    network = landmarks.build(TINY)
    mean = np.random.default_rng(0).uniform(4, 28, (68, 2)).astype(np.float32)
    landmarks.begin_with(network, mean)
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    found = keras.ops.convert_to_numpy(network(images))
    assert np.abs(found - mean).max() < 0.2 * get_eyes_px(TINY)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_file_gives_what_the_network_gives(tmp_path: Path, norm: Norm):
    network, path = exported(tmp_path, replace(TINY, norm=norm))
    model = load_model("landmarks", build(Options()), path)
    crops = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    expected = keras.ops.convert_to_numpy(network(crops.astype(np.float32)))
    np.testing.assert_allclose(model.find(crops), expected, atol=1e-3)
    assert model.manifest.crop_margin == TINY.margin
    assert model.find(crops[:0]).shape == (0, 68, 2)


def test_points_are_given_in_the_picture(tmp_path: Path):
    _, path = exported(tmp_path)
    model = load_model("landmarks", build(Options()), path)
    rgb = np.random.default_rng(2).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    fives = np.stack([FACE_POINTS + 60, FACE_POINTS * 0.5 + [150, 20]])
    found = model.find_in(RgbPicture(rgb), fives)
    for five, points in zip(fives, found, strict=True):
        crop = align_face(RgbPicture(rgb), five, 32, margin=TINY.margin)
        fitted = fit_alignment(five, 32, TINY.margin)
        assert fitted
        np.testing.assert_allclose(fitted.to_crop(points), model.find(crop[None])[0], atol=1e-2)
    nowhere = model.find_in(RgbPicture(rgb), np.zeros((1, 5, 2), np.float32))
    assert np.isnan(nowhere).all()


class Lying:
    """A session that gives points that cannot be."""

    def infer(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        points = np.full((len(rows), 68, 2), 10, np.float32)
        points[0, 3, 0] = 1e6
        points[1, 5, 1] = np.nan
        return {"points": points}


def test_points_that_cannot_be_are_dropped(tmp_path: Path):
    _, path = exported(tmp_path)
    model = load_model("landmarks", build(Options()), path)
    model._session = Lying()
    found = model.find(np.zeros((3, 32, 32, 3), np.uint8))
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2]).all()


def test_a_model_of_another_task_is_refused(tmp_path: Path):
    _, path = exported(tmp_path)
    with pytest.raises(ModelError, match="is a landmarks model, expected one for faces: name anot"):
        load_model("faces", build(Options()), path)


def test_batches_mirror_faces_with_their_points(tmp_path: Path):
    faces = read_face_points(write_faces(tmp_path, 12, 1))
    source = AlignedFaces.of(faces, LandmarkConfig(), 12)
    batch = source.make(*next(iter(source.plan(0))))
    assert batch["images"].shape == (12, 96, 96, 3)
    for image, points in zip(batch["images"], batch["points"], strict=True):
        inside = np.zeros((96, 96), np.uint8)
        for eye in (points[36:42], points[42:48]):
            cv2.fillPoly(inside, [eye.round().astype(np.int32)], 1)
        eyes, around = image[inside == 1].mean(), image[40:56, 28:68].mean()
        assert eyes < around - 10  # eyes are drawn dark
        assert points[36, 0] < points[45, 0]


def test_a_crop_holds_the_points_where_they_are(tmp_path: Path):
    faces = read_face_points(write_faces(tmp_path, 1, 1))
    config = LandmarkConfig()
    image = faces.examples[0].load().image
    crop, points = crop_face(image, faces.points[0], select_five(faces.points[0]), config)
    assert np.linalg.norm(select_five(points)[1] - select_five(points)[0]) == pytest.approx(
        get_eyes_px(config), rel=0.2
    )
    mouth = points[48:60].mean(axis=0).round().astype(int)
    assert crop[mouth[1], mouth[0], 0] > crop[mouth[1], mouth[0], 1] + 60  # it is drawn red


def test_the_commands_train_export_verify_and_evaluate(tmp_path: Path):
    data, run = write_faces(tmp_path / "data", 30, 1), tmp_path / "run"
    runner = CliRunner()
    done = runner.invoke(
        train_app,
        ["landmarks", str(data), "--out", str(run), "--epochs", "1", "--input-size", "32",
         "--batch", "4", "--threads", "1"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    model = tmp_path / "points.onnx"
    done = runner.invoke(deploy_app, ["export", str(run), "--out", str(model), "--name", "points"])
    assert done.exit_code == 0, done.output
    assert "try: edge-train evaluate --data FOLDER" in done.output
    arguments = ["verify", str(model), "--run", str(run), "--pictures", str(data / "images")]
    done = runner.invoke(deploy_app, arguments)
    assert done.exit_code == 0, done.output
    assert "30 pictures, 0 differ" in done.output
    refused = runner.invoke(train_app, ["evaluate", str(model), "--data", str(data), "--flip"])
    assert refused.exit_code != 0
    assert "a model of 68 points takes --val-fraction" in " ".join(refused.output.split())
    quantized = runner.invoke(deploy_app, ["quantize", str(model), "--data", str(data), "--int8"])
    assert "a model of 68 points is not quantized" in " ".join(quantized.output.split())
