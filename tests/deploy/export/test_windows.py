"""A classifier as a detector: what it says of a window is what it says of the window cut out."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.export.side import AsDetector, Side
from deploy.export.windows import WINDOWS, export_windows
from deploy.graph.manifest import Provenance
from deploy.graph.nms import Nms
from deploy.graph.session import open_session
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.onnxfile import metadata_of
from trainers.metrics.classes import to_probabilities
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig
from trainers.networks.windows import (
    WindowClassifier,
    WindowConfig,
    build_windows,
    check,
    list_boxes,
)

SLIM = ClassifierConfig(("background", "dog"), (32, 64), width=0.1, temperature=1.7)
CONFIGS = {
    "slim": SLIM,
    "nano, cut": replace(
        SLIM, backbone="nano", width=0.0, activation="silu", cut="backbone_dark3_csp_conv3_act"
    ),
    "independent": replace(SLIM, classes=("cat", "dog"), independent=True),
}


def trained(config):
    network, rng = classifier.build(config), np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    head = network.get_layer("head_classes")
    head.set_weights([8 * head.get_weights()[0], head.get_weights()[1]])
    return network


def reach_px(network):
    """How far beyond its cell a value of the last map can see, at most."""
    jump, reach = 1, 0
    for layer in network.layers:  # branches counted as if they followed each other
        if (kernel := getattr(layer, "kernel_size", getattr(layer, "pool_size", None))) is None:
            continue
        reach, jump = reach + (kernel[0] - 1) * jump, jump * layer.strides[0]
    return reach


NETWORKS = {name: (config, trained(config)) for name, config in CONFIGS.items()}
PICTURE_WH = {"slim": (544, 480), "nano, cut": (384, 320), "independent": (544, 480)}
WHOLE = {n: build_windows(net, c, PICTURE_WH[n]) for n, (c, net) in NETWORKS.items()}


@settings(max_examples=5, deadline=None)
@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data())
def test_a_window_is_judged_as_if_it_was_cut_out_with_its_surroundings(name, data):
    config, network = NETWORKS[name]
    whole = WHOLE[name]
    width, height = PICTURE_WH[name]
    seed = data.draw(st.integers(0, 99))
    picture = np.random.default_rng(seed).uniform(0, 255, (1, height, width, 3)).astype("float32")
    together = keras.ops.convert_to_numpy(whole(picture))[0]
    rows, columns, _ = together.shape
    row = data.draw(st.integers(0, rows - 1))
    column = data.draw(st.integers(0, columns - 1))
    stride = (height - config.input_wh[1]) // (rows - 1)
    margin = -(-reach_px(network) // 32) * 32
    y, x = row * stride, column * stride
    top, left = max(0, y // 32 * 32 - margin), max(0, x // 32 * 32 - margin)
    bottom = min(height, -(-(y + config.input_wh[1]) // 32) * 32 + margin)
    right = min(width, -(-(x + config.input_wh[0]) // 32) * 32 + margin)
    cut = picture[:, top:bottom, left:right]  # padded by the network at its borders, as always
    alone = classifier.build(replace(config, input_wh=(right - left, bottom - top)))
    alone.set_weights(network.get_weights())
    maps = keras.Model(alone.input, alone.get_layer("head_pool").input)(cut)
    high, wide = (side // stride for side in (config.input_wh[1], config.input_wh[0]))
    i, j = (y - top) // stride, (x - left) // stride
    features = keras.ops.convert_to_numpy(maps)[0, i : i + high, j : j + wide].mean((0, 1))
    kernel, bias = alone.get_layer("head_classes").get_weights()
    np.testing.assert_allclose(together[row, column], features @ kernel[0, 0] + bias, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_picture_of_one_window_is_classified_as_the_classifier_does(name):
    config, network = NETWORKS[name]
    width, height = config.input_wh
    picture = np.random.default_rng(1).uniform(0, 255, (3, height, width, 3)).astype("float32")
    one = keras.ops.convert_to_numpy(build_windows(network, config, config.input_wh)(picture))
    expected = keras.ops.convert_to_numpy(network(picture))
    assert one.shape == (3, 1, 1, 2)
    np.testing.assert_allclose(one[:, 0, 0], expected, atol=1e-4)


def run_file(config, network, windows, images, **nms):
    model = export_windows(network, config, windows, Nms(**nms), Provenance("dogs"))
    (rows,) = open_session(model).run(None, {"images": images})
    return model, rows


@pytest.mark.parametrize("name", CONFIGS)
def test_the_file_has_the_boxes_and_scores_of_keras(name):
    config, network = NETWORKS[name]
    windows = check(config, WindowConfig((160, 128), ((32, 64), (40, 96))))
    images = np.random.default_rng(2).integers(0, 256, (2, 128, 160, 3)).astype(np.uint8)
    model, rows = run_file(
        config, network, windows, images, score_threshold=0.0, iou_threshold=1.0, max_rows=400,
        candidates=400,
    )  # fmt: skip
    whole = WindowClassifier.of(network, config, windows)
    scores = keras.ops.convert_to_numpy(whole.scores(images.astype("float32")))
    boxes = whole.boxes()
    for found, score in zip(rows, scores, strict=True):
        count = int((found[:, 4] > 0).sum())
        assert count == len(boxes)
        best = np.sort(score.max(1))[::-1]
        np.testing.assert_allclose(found[:count, 4], best, atol=1e-4)
        for row in found[:count]:
            at = np.flatnonzero(np.abs(boxes - row[:4]).max(1) < 1e-3)
            assert np.abs(score[at, int(row[5])] - row[4]).min() < 1e-4
    metadata = metadata_of(model)
    assert Manifest.from_metadata(metadata, "x").task == "detect"
    assert WindowConfig.from_json(json.loads(metadata[WINDOWS])) == windows


def test_the_file_says_of_the_only_window_what_the_classifier_says():
    config, network = NETWORKS["slim"]
    images = np.random.default_rng(3).integers(0, 256, (2, 64, 32, 3)).astype(np.uint8)
    _, rows = run_file(config, network, WindowConfig((32, 64), ((32, 64),)), images,
                       score_threshold=0.0)  # fmt: skip
    logits = keras.ops.convert_to_numpy(network(images.astype("float32")))
    expected = to_probabilities(logits, config.temperature, independent=False)[:, 1]
    np.testing.assert_allclose(rows[:, 0, 4], expected, atol=1e-4)


def test_windows_lie_on_the_picture_and_lose_the_margin():
    config = replace(SLIM, margin=0.25)
    boxes = list_boxes(config, WindowConfig((128, 128), ((64, 64),)), (64, 128), (2, 3))
    np.testing.assert_allclose(boxes[0], [6.4, 6.4, 57.6, 57.6], atol=1e-3)
    np.testing.assert_allclose(boxes[-1], [70.4, 70.4, 121.6, 121.6], atol=1e-3)


@pytest.mark.parametrize(
    ("config", "windows", "told"),
    [
        (replace(SLIM, classes=("cat", "dog")), {}, "--background"),
        (SLIM, {"background": "sky"}, "no class of the run"),
        (replace(SLIM, classes=("background",)), {}, "the only class"),
        (SLIM, {"sides_wh": ((16, 32),)}, "smaller than the 32 pixels"),
        (SLIM, {"sides_wh": ((64, 192),)}, "larger than the picture"),
        (SLIM, {"input_wh": (100, 128)}, "multiples of 32"),
    ],
)
def test_windows_that_cannot_be_are_refused(config, windows, told):
    with pytest.raises(ConfigError, match=told):
        check(config, replace(WindowConfig((160, 128), ((32, 64),)), **windows))


@pytest.mark.parametrize("text", ["a", "64,", "0", "48x", "x96", "-5"])
def test_sides_that_are_no_pixels_are_refused(text):
    with pytest.raises(ConfigError, match="--side"):
        AsDetector.parse(text, "")


def test_a_height_alone_keeps_the_proportion_of_the_classifier():
    sides = AsDetector.parse("96,48x64", "").sides
    assert [side.fit((32, 64)) for side in sides] == [(48, 96), (48, 64)]
    assert Side(0, 0).fit((32, 64)) == (32, 64)
