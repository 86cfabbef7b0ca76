"""Features of a frozen part: the same training, without computing them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset, iterate_batches
from trainers import detector
from trainers.augment import presets as recipes
from trainers.data.dataset import Dataset
from trainers.data.parts import Parts
from trainers.detector import DetectorJob
from trainers.faces import NETWORKS
from trainers.input import feature_cache as features
from trainers.input.feature_cache import FeatureCache
from trainers.input.pipeline import build_batches, stream_batches
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build
from trainers.run.settings import Settings
from trainers.weights import transfer

SMALL = NetworkConfig(
    ("face",), (64, 64), "slim", 0.05, neck="fpn", neck_channels=(8, 8, 8),
    head_channels=8, head_depth=1, shared_head=True, depthwise=False,
)  # fmt: skip
DEPTHWISE = replace(SMALL, depthwise=True)
pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")  # see eagerly
SETTINGS = Settings(epochs=2, batch=4, threads=1, freeze="backbone", cache_features=2)


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def frozen(config: NetworkConfig = SMALL, regime: str = "backbone") -> keras.Model:
    keras.utils.set_random_seed(3)
    model = build(config)
    transfer.freeze(model, regime)
    return model


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return drawn_dataset(tmp_path / "images", 6)


@pytest.mark.parametrize(
    ("config", "regime"),
    [
        (DEPTHWISE, "backbone"),
        (DEPTHWISE, "all"),
        (SMALL, "backbone_,neck_"),
        (replace(DEPTHWISE, neck="pafpn"), "backbone"),
        (replace(NETWORKS["yunet"], input_wh=(64, 64)), "backbone"),
        (replace(NETWORKS["yunet"], input_wh=(64, 64)), "all"),
    ],
)
def test_frozen_part_and_rest_together_are_the_network(config, regime):
    model = frozen(config, regime)
    front, rest = features.split_at_frozen(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(numpy(rest(front([images]))), numpy(model(images)), atol=1e-5)
    assert not front.trainable_weights
    assert {w.path for w in rest.trainable_weights} == {w.path for w in model.trainable_weights}


@pytest.mark.parametrize("regime", ["none", "head_"])
def test_a_network_without_a_frozen_beginning_is_refused(regime):
    with pytest.raises(ConfigError, match="--freeze backbone"):
        features.split_at_frozen(frozen(regime=regime))


def kept(dataset: Dataset, folder: Path, views: int = 2, seed: int = 0) -> FeatureCache:
    made = build_batches(dataset, (64, 64), 2, recipes.detector_augments(), seed=seed)
    return FeatureCache.create(made, features.split_at_frozen(frozen())[0], views, folder)


def test_epochs_take_the_views_in_turn_and_nothing_is_computed_twice(dataset, tmp_path):
    mine = kept(dataset, tmp_path / "kept")
    spared = mine.compute()
    assert (spared.views, spared.computed) == (2, 12)
    assert spared.mebibytes > 0
    assert spared.epoch_s == pytest.approx(spared.seconds / 2)
    assert kept(dataset, tmp_path / "kept").compute().computed == 0
    chosen = np.arange(4)
    first, second, third = (mine.make(epoch, 0, chosen) for epoch in range(3))
    for a, b in zip(first[0], third[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first[0], second[0], strict=True))


def test_features_and_labels_belong_to_the_same_view(dataset, tmp_path):
    mine = kept(dataset, tmp_path / "kept")
    mine.compute()
    sample = mine.images.sample(dataset.examples[3], (0, 1, 3))  # seed, view, picture
    plain = build_batches(Dataset(dataset.classes, dataset.examples), (64, 64), 1)
    (batch,) = (features.collate([sample], plain.size_wh, mine.images.rows),)
    maps, labels = mine.make(1, 0, np.array([3]))
    np.testing.assert_array_equal(labels["boxes"], batch["boxes"])
    assert set(labels) == set(batch) - {"images"}
    for kept_map, fresh in zip(maps, mine.front([batch["images"].astype(np.float32)]), strict=True):
        np.testing.assert_allclose(kept_map, numpy(fresh), rtol=2e-3, atol=2e-3)


def test_other_weights_data_or_seeds_have_other_features(dataset, tmp_path):
    def folder(seed: int = 0, pictures: int = 6) -> Path:
        fewer = replace(dataset, examples=dataset.examples[:pictures])
        return kept(fewer, tmp_path, seed=seed).folder

    mine = kept(dataset, tmp_path)
    mine.front.weights[0].assign(mine.front.weights[0] + 1)
    others = FeatureCache.create(mine.images, mine.front, 2, tmp_path).folder
    first = folder()
    assert folder() == first
    assert len({first, folder(seed=1), folder(pictures=5), others}) == 4


def test_a_full_disk_says_what_to_do(dataset, tmp_path):
    (tmp_path / "kept").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="fewer views"):
        kept(dataset, tmp_path / "kept").compute()


def train(data: Path, out: Path, settings: Settings, *, resume: bool = False):
    job = DetectorJob(data=(data,), out=out, network=SMALL, settings=settings)
    parts = Parts(*drawn_dataset(data, 8).split(0.3, 1))
    return detector.fit(
        job, "detect", parts, recipes.detector_augments(0), detector.compute_metrics, "ap50",
        resume=resume,
    )  # fmt: skip


def test_a_run_with_kept_features_trains_the_rest_and_saves_the_whole(tmp_path, eagerly):
    folder = train(tmp_path / "data", tmp_path / "run", SETTINGS)
    model = folder.load()
    keras.utils.set_random_seed(SETTINGS.seed)
    fresh = build(SMALL)
    before = {w.path: numpy(w) for w in fresh.weights}
    changed = {w.path for w in model.weights if (numpy(w) != before[w.path]).any()}
    assert changed
    assert not {path for path in changed if path.startswith("backbone_")}
    assert folder.read("features.json")["computed"] > 0
    train(tmp_path / "data", tmp_path / "run", replace(SETTINGS, epochs=3), resume=True)
    assert folder.last_epoch() == 3
    assert folder.read("features.json")["computed"] == 0


def test_a_run_without_a_frozen_beginning_is_refused_before_it_is_one(tmp_path):
    with pytest.raises(ConfigError, match="--freeze backbone"):
        train(tmp_path / "data", tmp_path / "run", replace(SETTINGS, freeze="none"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("left", [0, 200])
def test_broken_features_are_made_anew_once_deleted(dataset, tmp_path, left):
    mine = kept(dataset, tmp_path / "kept", views=1)
    mine.compute()
    broken = sorted(mine.folder.iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:left])
    assert mine.compute().computed == 0  # nobody reads them all again
    with pytest.raises(
        ConfigError, match=f"{broken.name}: This file cannot be read.*delete the file"
    ):
        mine.make(0, 0, np.array([2]))
    broken.unlink()
    assert mine.compute().computed == 1
    mine.make(0, 0, np.array([2]))


def test_training_on_kept_features_is_training_on_the_pictures(dataset, tmp_path, eagerly):
    """One step on features moves the free weights as a step on the views' pictures does."""
    results = []
    for cached in (False, True):
        model = frozen()
        front, rest = features.split_at_frozen(model)
        made = build_batches(dataset, (64, 64), 4)
        if cached:
            mine = FeatureCache.create(made, front, 1, tmp_path / "kept")
            mine.compute()
            x, y = mine.make(*next(made.plan(0)))
            task = detector.YoloTask(model, SMALL, detector.LossConfig(), rest)
        else:
            x, y = detector.to_keras_batch(next(stream_batches(made)))
            task = detector.YoloTask(model, SMALL, detector.LossConfig())
        task.compile(keras.optimizers.SGD(1e-3))
        task.train_on_batch(x, y)
        results.append([numpy(w) for w in model.trainable_weights])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_without_augmentation_one_view_is_the_picture_itself(dataset, tmp_path):
    made = build_batches(dataset, (64, 64), 6)
    mine = FeatureCache.create(made, features.split_at_frozen(frozen())[0], 1, tmp_path)
    mine.compute()
    (plain,) = iterate_batches(dataset, (64, 64), 6, shuffle=False)
    maps, _ = mine.make(0, 0, np.arange(6))
    expected = mine.front([plain["images"].astype(np.float32)])
    np.testing.assert_allclose(maps[0], numpy(expected[0]), rtol=2e-3, atol=2e-3)
