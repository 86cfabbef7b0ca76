"""A classifier learns what is drawn, from folders and from boxes."""

import csv
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from trainers.classifier import ClassifierJob, read_parts, train_classifier, weigh_classes
from trainers.data.class_data import LabeledCrop, list_crops, read_class_data
from trainers.input.crops import ClassBatches, CropCache, cut_out
from trainers.networks.classifier import build
from trainers.networks.config import ClassifierConfig
from trainers.run.settings import Settings

TINY = ClassifierConfig(("a", "b"), (32, 32), width=0.1, dropout=0.0, margin=0.0)


def draw(path, kind, seed):
    """A disc or a cross in noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(80, 170, (40, 48, 3)).astype(np.uint8)
    at, color = rng.integers(16, 24, 2).tolist(), rng.integers(180, 255, 3).tolist()
    if kind == "disc":
        cv2.circle(image, at, 11, color, -1)
    else:
        cv2.drawMarker(image, at, color, cv2.MARKER_CROSS, 24, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture
def drawn(tmp_path):
    for seed in range(80):
        kind = ("disc", "cross")[seed % 2]
        draw(tmp_path / "drawn" / kind / f"{seed}.png", kind, seed)
    return tmp_path / "drawn"


def job(data, out, **changes):
    settings = Settings(epochs=25, batch=8, learning_rate=3e-3, strength=0.0, validate_every=5)
    config = replace(TINY, norm="none", width=0.2)  # few steps are too few for running means
    return ClassifierJob(data=(data,), out=out, config=config, settings=settings, **changes)


def test_discs_and_crosses_are_told_apart(drawn, tmp_path):
    folder = train_classifier(job(drawn, tmp_path / "run"))
    metrics = folder.read("metrics.json")
    assert metrics["balanced_accuracy"] >= 0.9
    assert metrics["auroc/disc"] >= 0.95
    network, config = folder.load_with_config(ClassifierConfig)
    assert config.classes == ("cross", "disc")
    assert config.temperature == metrics["temperature"]
    assert network.output_shape == (None, 2)


def test_a_picture_with_two_classes_needs_independent_labels(drawn, tmp_path):
    with (drawn / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "class"), *((f"disc/{n}.png", "round;filled") for n in range(0, 40, 2)),
             *((f"cross/{n}.png", "thin") for n in range(1, 40, 2))]
        )  # fmt: skip
    told = r"of several classes \(filled, round\): .* give --independent"
    with pytest.raises(ConfigError, match=told):
        read_parts(job(drawn / "t.csv", tmp_path / "run"))
    several = job(drawn / "t.csv", tmp_path / "run")
    several = replace(several, config=replace(TINY, independent=True))
    folder = train_classifier(replace(several, settings=replace(several.settings, epochs=2)))
    assert 0 <= folder.read("metrics.json")["balanced_accuracy"] <= 1


def test_rare_classes_weigh_more():
    labels = np.eye(2, dtype=np.float32)[[0] * 90 + [1] * 10]
    assert weigh_classes(labels, independent=False) == pytest.approx([100 / 180, 5], rel=1e-6)
    assert weigh_classes(labels, independent=True) == pytest.approx([1 / 9, 9], rel=1e-6)


def test_a_crop_is_cut_as_the_box_says(drawn):
    config = replace(TINY, margin=0.0, input_wh=(32, 32))
    dataset = read_class_data(drawn)
    picture = dataset.examples[0].load().image
    crop = LabeledCrop(0, np.array([4, 6, 36, 38], np.float32), (0,))
    cut = cut_out(CropCache(dataset, config).load(0, crop), (32, 32))
    np.testing.assert_array_equal(cut, picture[6:38, 4:36])


def test_batches_depend_on_the_seed_alone(drawn):
    dataset = read_class_data(drawn)
    one, other = (ClassBatches.of(dataset, TINY, 8, (), 5, 0.1) for _ in range(2))
    plan = list(one.plan(3))
    np.testing.assert_array_equal(one.make(*plan[1])["images"], other.make(*plan[1])["images"])
    assert len({tuple(chosen) for _, _, chosen in plan}) == len(plan)
    assert len(list_crops(dataset)) == 80


def test_a_backbone_may_end_early():
    whole = build(TINY)
    early = build(replace(TINY, cut="backbone_dark3_m1_add"))
    assert early.count_params() < whole.count_params()
    assert not any(layer.name.startswith("backbone_dark4") for layer in early.layers)
    assert isinstance(early, keras.Model)
    with pytest.raises(ConfigError, match="no layer of the backbone is called 'x'"):
        build(replace(TINY, cut="x"))
