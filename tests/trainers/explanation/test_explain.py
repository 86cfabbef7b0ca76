"""The report is one file without anything from elsewhere, and shows what went wrong."""

import re
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset, face, plain_example, write_example
from tests.support.tiny_networks import NANO, untrained
from trainers.data.class_data import read_class_data
from trainers.data.dataset import Dataset
from trainers.explanation import patches
from trainers.explanation.explain import explain_run
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig, LivenessConfig
from trainers.run.folder import RunFolder


def write_run(path, kind, network, config):
    run = RunFolder(path)
    path.mkdir()
    run.write("config.json", {"task": kind, "network": config.to_json()})
    if network is not None:
        run.save(network)
    return run


def check_page(html):
    """It loads nothing."""
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|<script""", html)
    assert "default-src 'none'" in html


@pytest.fixture
def classes(tmp_path):
    for n in range(8):
        for kind, color in (("red", (0, 0, 255)), ("green", (0, 255, 0))):
            image = np.full((40, 40, 3), 90, np.uint8)
            cv2.circle(image, (12 + n, 20), 8, color, -1)
            path = tmp_path / "data" / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    return read_class_data(tmp_path / "data")


def test_the_report_of_a_classifier(tmp_path, classes):
    config = ClassifierConfig(("green", "red"), (32, 32), width=0.2, norm="none")
    network = classifier.build(config)
    network.get_layer("head_classes").bias.assign([4, 0])  # all is said to be green
    run = write_run(tmp_path / "run", "classify", network, config)
    html = explain_run(run, classes, tmp_path)
    check_page(html)
    assert html.count("8 of 16 samples. ") == 2  # each red one is missed, and a false green one
    assert re.search(r"evidence of red 0\.\d\d, is red, in \w+", html)
    assert "First-layer filters" in html
    assert html.count("Strongest patches of") == 3
    assert len(html) < 500_000


def test_the_report_of_a_detector(tmp_path):
    config = replace(NANO, classes=("face", "b"))
    run = write_run(tmp_path / "run", "detect", untrained(config), config)
    html = explain_run(run, drawn_dataset(tmp_path, 4), tmp_path, score=0.9)
    check_page(html)
    assert re.search(r"\d+ at a score of 0\.9\. Labeled objects without a detection", html)
    assert re.search(r"face 0\.\d\d, map of stride (8|16|32), in \w+", html)


def test_nothing_that_went_wrong_is_said(tmp_path):
    config = replace(NANO, classes=("face", "b"))
    run = write_run(tmp_path / "run", "detect", untrained(config), config)
    empty = write_example(tmp_path, "empty", face(1))[[]]
    html = explain_run(run, Dataset(("face",), (empty,)), tmp_path, score=1.0)
    assert html.count("<p>None.</p>") == 2


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("liveness", LivenessConfig(), "of the task liveness: explain takes detectors"),
        ("detect", NANO, "no class in common"),
    ],
)
def test_what_cannot_be_explained_is_refused(tmp_path, kind, config, message):
    network = untrained(config) if kind == "detect" else None
    run = write_run(tmp_path / "run", kind, network, config)
    with pytest.raises(ConfigError, match=message):
        explain_run(run, Dataset(("other",), (plain_example("x", "x"),)), tmp_path)


def test_the_strongest_patch_is_what_a_unit_looks_for():
    images = keras.Input((32, 32, 3), name="images")
    x = keras.layers.Conv2D(2, 3, padding="same", name="only")(images)
    network = keras.Model(images, keras.layers.Activation("relu", name="only_act")(x))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, 0, 0] = 1  # unit 0 sees red
    network.get_layer("only").set_weights([kernel, np.zeros(2)])
    pictures = np.zeros((12, 32, 32, 3), np.uint8)
    for n in range(12):
        pictures[n, 10 + n, 9, 0] = 250 - 10 * n
    [row] = patches.choose_layers(network, 1)
    [unit] = patches.find_patches(network, [row], pictures, units=1)
    assert unit.channel == 0
    assert unit.activations.tolist() == [250 - 10 * n for n in range(9)]
    assert (unit.patches[:, 28, 28, 0] > 160).all()  # the red pixel is in the middle of 3x3
    assert unit.patches[:, ::55, ::55].max() == 0


def test_filters_are_drawn_with_zero_as_gray():
    network = classifier.build(ClassifierConfig(("a", "b"), (32, 32), width=0.2, norm="none"))
    first = network.get_layer("backbone_stem")
    kernel = np.zeros(first.kernel.shape, np.float32)
    kernel[0, 0, 0, 0], kernel[1, 1, 2, 0] = 2, -2
    first.kernel.assign(kernel)
    sheet = patches.draw_filters(network)
    times = 48 // kernel.shape[0]
    assert sheet[0, 0].tolist() == [255, 128, 128]
    assert sheet[times, times].tolist() == [128, 128, 0]
    assert sheet[0, 2 * times].tolist() == [128] * 3
