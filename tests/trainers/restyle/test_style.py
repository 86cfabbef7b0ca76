"""Content and Gram losses against numpy, and what fitting a look does to a picture."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from edge.models.paths import get_zoo_folder, resolve_model
from tests.trainers.weights.test_transfer import published
from trainers.augment.conditions import infrared, night
from trainers.networks.config import ClassifierConfig
from trainers.restyle.features import Features, load_features
from trainers.restyle.look import Look, begin_look, draw_noise, measure_colors, shrink_noise
from trainers.restyle.style import (
    FitSettings,
    LookLayer,
    Restyler,
    compute_gram,
    relative_error,
)
from trainers.run.folder import RunFolder

SIDE = 96
rng = np.random.default_rng


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def scene(seed: int, size_wh: tuple[int, int] = (192, 160)) -> np.ndarray:
    """Day: rectangles of strong colors with edges at all scales."""
    random = rng(seed)
    image = np.full((size_wh[1], size_wh[0], 3), 150, np.uint8)
    for _ in range(40):
        x, y = random.integers(0, size_wh[0]), random.integers(0, size_wh[1])
        w, h = random.integers(8, 60, 2)
        color = random.integers(20, 250, 3).tolist()
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), color, -1)
    return image


@pytest.fixture(scope="module")
def features() -> Features:
    return load_features(resolve_model("zoo:detect-nano", get_zoo_folder()), "nano", SIDE)


@pytest.fixture(scope="module")
def restyler(features) -> Restyler:
    return Restyler(features, FitSettings(steps=25))


def test_the_gram_matrix_is_that_of_plain_numpy():
    maps = rng(0).normal(size=(2, 5, 7, 4)).astype(np.float32)
    expected = np.zeros((2, 4, 4))
    for b in range(2):
        for i in range(4):
            for j in range(4):
                expected[b, i, j] = sum(
                    float(maps[b, y, x, i]) * float(maps[b, y, x, j])
                    for y in range(5) for x in range(7)
                ) / 35  # fmt: skip
    np.testing.assert_allclose(numpy(compute_gram(maps)), expected, rtol=1e-4, atol=1e-6)


def test_losses_are_relative():
    truth = rng(1).normal(size=(2, 3, 3)).astype(np.float32)
    found = rng(2).normal(size=(2, 3, 3)).astype(np.float32)
    expected = [((f - t) ** 2).sum() / (t**2).sum() for t, f in zip(truth, found, strict=True)]
    np.testing.assert_allclose(numpy(relative_error(truth, found)), expected, rtol=1e-5)
    assert numpy(relative_error(truth, truth)).max() == 0


def test_features_are_those_of_the_published_network(tmp_path):
    model = published("vgg16")
    model.save(tmp_path / "vgg16.h5")
    ours = load_features(tmp_path / "vgg16.h5", "vgg16", 64)
    assert ours.names == tuple(
        f"backbone_{name}_act" for name in ("block1_conv2", "block2_conv2", "block3_conv3",
                                            "block4_conv3")
    )  # fmt: skip
    images = rng(3).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    theirs = keras.Model(model.input, [
        model.get_layer(name.removeprefix("backbone_").removesuffix("_act")).output
        for name in ours.names
    ])  # fmt: skip
    expected = theirs(keras.applications.vgg16.preprocess_input(images.copy()))
    for one, other in zip(ours.network(images), expected, strict=True):
        np.testing.assert_allclose(
            numpy(one), numpy(other), rtol=1e-3, atol=np.abs(other).max() * 1e-4
        )


def test_features_of_a_run_are_those_of_its_network(tmp_path):
    from trainers.networks.classifier import build

    config = ClassifierConfig(("a", "b"), (64, 64), width=0.05)
    network = build(config)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng(4).uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    values = {"task": "classify", "network": config.to_json()}
    run = RunFolder.begin(tmp_path / "run", values, {"data_sha256": ""}, resume=False)
    run.save(network)
    ours = load_features(run.path, "", 64)
    images = rng(5).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    whole = keras.Model(network.input, [network.get_layer(name).output for name in ours.names])
    for one, other in zip(ours.network(images), whole(images, training=False), strict=True):
        scale = np.abs(numpy(other)).max()
        assert scale > 0
        assert np.abs(numpy(one) - numpy(other)).max() < 1e-3 * scale
    assert not ours.network.trainable_weights


def test_features_of_another_backbone_are_refused():
    path = resolve_model("zoo:detect-nano", get_zoo_folder())
    with pytest.raises(ConfigError, match=r"have no weights here .* with --backbone"):
        load_features(path, "slim", 64)


def test_the_layer_is_the_formula_of_the_look():
    image, noise = scene(6, (SIDE, SIDE)), draw_noise("n", (SIDE, SIDE))
    random = rng(7)
    look = Look(
        (np.eye(3) * 0.6 + random.normal(0, 0.05, (3, 3))).astype(np.float32),
        random.normal(0.05, 0.02, 3).astype(np.float32), np.float32([0.3]),
        random.normal(0, 0.3, (6, 6)).astype(np.float32),
        np.log(np.float32([0.02, 0.03, 0.01, 0.02])),
    )  # fmt: skip
    layer = LookLayer()
    layer.build([(None, SIDE, SIDE, 3), (None, SIDE, SIDE, 4)])
    layer.set(look)
    inside = numpy(layer((image[None].astype(np.float32), noise[None])))[0]
    assert np.abs(look(image, noise).astype(float) - inside).max() <= 0.51  # rounded
    assert all((getattr(layer.get(), n) == getattr(look, n)).all() for n in look.__slots__)


@pytest.mark.parametrize("change", [night, infrared])
def test_the_first_look_has_the_mean_and_covariance_of_the_style(change):
    day, style = scene(8), change(scene(9), 0.5, rng(0))
    content, wanted = measure_colors(day), measure_colors(style)
    look = begin_look(content, wanted)
    pixels = day.reshape(-1, 3) / 255 @ look.matrix.T + look.offset
    np.testing.assert_allclose(pixels.mean(0), wanted.mean, atol=1e-4)
    np.testing.assert_allclose(np.cov(pixels.T, bias=True), wanted.covariance, atol=3e-4)
    np.testing.assert_allclose(look.matrix, look.matrix.T, atol=1e-4)  # turns no color into another


def measure_edges(image: np.ndarray) -> np.ndarray:
    gray = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(np.float32)
    return np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))


@pytest.mark.parametrize(("change", "strength"), [(night, 0.5), (night, 1.0), (infrared, 0.5)])
def test_the_loss_falls_the_style_comes_nearer_and_the_content_stays(restyler, change, strength):
    day = scene(10)
    style = restyler.describe(change(scene(11), strength, rng(0)))
    noise = draw_noise("day", (192, 160))
    fit = restyler.fit(day, noise, style)
    assert len(fit.losses) == 25
    assert fit.losses[-5:].mean() < fit.losses[0]
    assert fit.style < 0.5 * fit.day_style
    seen = fit.look(day, noise)
    assert seen.shape == day.shape
    apart = [  # of Gram matrices, by numpy, of the whole picture as it is written
        sum(np.linalg.norm(a - b) / np.linalg.norm(b)
            for a, b in zip(restyler.describe(image).grams, style.grams, strict=True))
        for image in (day, seen)
    ]  # fmt: skip
    assert apart[1] < 0.8 * apart[0]
    edges = np.corrcoef(measure_edges(day).ravel(), measure_edges(seen).ravel())[0, 1]
    assert edges > 0.5
    if change is infrared:
        assert np.abs(np.ptp(seen.astype(int), axis=2)).mean() < 12
    assert seen.mean() < day.mean() or change is infrared


def test_edges_stay_at_their_pixels(restyler):
    day = scene(12)
    style = restyler.describe(night(scene(13), 0.5, rng(0)))
    noise = draw_noise("day", (192, 160))
    seen = measure_edges(restyler.fit(day, noise, style).look(day, noise))
    still = measure_edges(day)

    def correlate(dx: int, dy: int) -> float:
        moved = np.roll(seen, (dy, dx), (0, 1))[20:-20, 20:-20]
        return float(np.corrcoef(moved.ravel(), still[20:-20, 20:-20].ravel())[0, 1])

    places = [(dx, dy) for dx in (-4, 0, 4) for dy in (-4, 0, 4)]
    assert max(places, key=lambda place: correlate(*place)) == (0, 0)


def test_each_picture_begins_anew(restyler):
    style = restyler.describe(night(scene(14), 1.0, rng(0)))
    noise = draw_noise("day", (192, 160))
    first = restyler.fit(scene(15), noise, style)
    restyler.fit(scene(16), noise, style)
    again = restyler.fit(scene(15), noise, style)
    for name in first.look.__slots__:
        one, two = getattr(first.look, name), getattr(again.look, name)
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_black_pictures_give_numbers_too(restyler):
    black, noise = np.zeros((96, 96, 3), np.uint8), draw_noise("n", (96, 96))
    for day, style in ((scene(19), black), (black, scene(20))):
        fit = restyler.fit(
            day, draw_noise("n", (day.shape[1], day.shape[0])), restyler.describe(style)
        )
        assert np.isfinite(fit.losses).all()
        assert np.isfinite([fit.content, fit.style, fit.day_style]).all()
    assert fit.look(black, noise).mean() > 10


def test_nothing_of_the_features_changes(features):
    before = [numpy(weight).copy() for weight in features.network.weights]
    restyler = Restyler(features, FitSettings(steps=2))
    restyler.fit(scene(17), draw_noise("n", (192, 160)), restyler.describe(scene(18)))
    for weight, old in zip(features.network.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), old)


def test_noise_is_the_same_for_a_name_and_shrinks_with_its_picture():
    one, two = draw_noise("a", (64, 48)), draw_noise("a", (64, 48))
    np.testing.assert_array_equal(one, two)
    assert (one != draw_noise("b", (64, 48))).any()
    assert shrink_noise(draw_noise("a", (256, 256)), 64).std() == pytest.approx(0.25, rel=0.1)
