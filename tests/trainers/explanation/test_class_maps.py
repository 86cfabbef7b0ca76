"""Class maps agree with what can be computed by hand, and with what is known to matter."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops

from edge.errors import ConfigError
from trainers.explanation import class_maps
from trainers.explanation.gradients import compute_gradient, split_behind
from trainers.networks import classifier, yolo
from trainers.networks.config import ClassifierConfig, NetworkConfig


def lively(network):
    """With weights of which each matters."""
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            shape = tuple(layer.kernel.shape)
            fan_in = np.prod(shape[:2] if "dconv" in layer.name else shape[:-1])
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
    return network


THREE = ClassifierConfig(("a", "b", "c"), (64, 64), width=0.2, norm="none", temperature=1.0)


def noise(count=2, side=64):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return lively(classifier.build(THREE))


def test_behind_a_global_mean_grad_cam_is_cam_over_the_number_of_places(network):
    # y_c = sum_k w_kc mean(A_k) + b, so that the mean of dy_c/dA_k is w_kc / Z, Z places
    images, layer = noise(), class_maps.name_last_map(network)
    grad = class_maps.compute_grad_cam(network, layer, images, lambda logits: logits[:, 1])
    features = keras.Model(network.input, network.get_layer(layer).output)
    maps = np.asarray(features(images))
    kernel = np.asarray(network.get_layer("head_classes").kernel)[0, 0]
    expected = maps @ kernel[:, 1] / (maps.shape[1] * maps.shape[2])
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_cam_is_grad_cam_of_the_odds_of_one_of_two_classes():
    config = ClassifierConfig(("a", "b"), (64, 64), width=0.2, norm="none")
    pair = lively(classifier.build(config))
    images, layer = noise(), class_maps.name_last_map(pair)
    cam = class_maps.compute_cam(pair, config, images, 1)
    grad = class_maps.compute_grad_cam(pair, layer, images, class_maps.score_class(config, 1))
    places = cam.shape[1] * cam.shape[2]
    np.testing.assert_allclose(grad * places, 2 * cam, rtol=1e-3, atol=1e-4 * np.abs(cam).max())


def test_the_odds_are_those_of_the_probabilities():
    logits = np.random.default_rng(1).normal(0, 2, (5, 3)).astype(np.float32)
    found = np.asarray(class_maps.score_class(THREE, 2)(ops.convert_to_tensor(logits)))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, np.log(p[:, 2] / (1 - p[:, 2])), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    network = lively(classifier.build(replace(THREE, activation="silu")))  # it has no kinks
    name, images = "backbone_dark3_m0_add", noise(1) / 255
    maps, gradient = compute_gradient(network, name, images, lambda logits: logits[:, 0])
    _, tail = split_behind(network, name)
    rng = np.random.default_rng(0)
    direction = rng.normal(0, 1, maps.shape).astype(np.float32)
    step = 1e-2 * np.abs(maps).mean()

    def ask(moved):
        return float(np.asarray(tail([moved]))[0, 0])

    slope = (ask(maps + step * direction) - ask(maps - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("backbone", ["slim", "yunet"])
def test_a_detector_is_split_where_its_ways_part(backbone):
    config = NetworkConfig(("face",), (64, 64), backbone, norm="none", landmarks=True)
    detector = yolo.build(config)
    images = noise(1)
    raw = np.asarray(detector(images))
    box = np.array([10, 10, 40, 40], np.float32)
    at = class_maps.find_row(raw, config, box, 0)
    head, tail = split_behind(detector, at.layer)
    np.testing.assert_allclose(np.asarray(tail(head(images))), raw, atol=1e-5)
    cam = class_maps.compute_grad_cam(detector, at.layer, images, class_maps.score_row(config, at))
    assert cam.shape[1:] == {0: (8, 8), 1: (4, 4), 2: (2, 2)}[int(at.layer[5])]


def test_the_row_that_is_explained_is_that_of_the_box():
    config = NetworkConfig(("a", "b"), (64, 64), "slim", norm="none")
    raw = np.full((1, 84, 7), -3, np.float32)
    raw[..., :4] = 0  # each row says a box as large as its cell, at the corner of it
    raw[0, 64 + 5, 2:4] = np.log(2)  # stride 16, second row, second column: from 0 to 32
    raw[0, 64 + 5, 4:] = 3
    at = class_maps.find_row(raw, config, np.array([0, 0, 32, 32], np.float32), 1)
    assert (at.row, at.layer) == (69, "head_1_stem_act")
    assert at.score == pytest.approx((1 / (1 + np.exp(-3))) ** 2, rel=1e-4)


def test_a_layer_that_is_not_there_is_refused(network):
    with pytest.raises(ConfigError, match="no layer before the output is called 'x'"):
        split_behind(network, "x")


def test_a_map_shows_where_the_only_weight_looks():
    images = keras.Input((32, 32, 3), name="images")
    x = layers.Conv2D(2, 1, name="only")(images)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    x = layers.Reshape((2,))(layers.Conv2D(2, 1, name="head_classes")(x))
    tiny = keras.Model(images, x)
    tiny.get_layer("only").set_weights([np.eye(3, 2, dtype=np.float32)[None, None], np.zeros(2)])
    tiny.get_layer("head_classes").set_weights(
        [np.eye(2, dtype=np.float32)[None, None], np.zeros(2)]
    )
    picture = np.zeros((1, 32, 32, 3), np.float32)
    picture[0, 20, 5, 0], picture[0, 7, 30, 1] = 200, 200
    config = ClassifierConfig(("red", "green"), (32, 32))
    red, green = (class_maps.compute_cam(tiny, config, picture, n)[0] for n in range(2))
    assert np.unravel_index(red.argmax(), red.shape) == (20, 5)
    assert np.unravel_index(green.argmax(), green.shape) == (7, 30)
