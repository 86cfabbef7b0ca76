"""What a training starts from and what it leaves as it was is said."""

from dataclasses import replace

import keras
import pytest

from edge.errors import ConfigError
from tests.trainers.weights.test_transfer import SMALL
from trainers import detector
from trainers.data.dataset import Dataset
from trainers.detector import DetectorJob, choose_freeze, prepare_network
from trainers.networks.yolo import build
from trainers.run.settings import Settings


@pytest.mark.parametrize(
    ("images", "transferred", "expected"),
    [(10, True, "backbone"), (299, True, "backbone"), (300, True, "none"), (10, False, "none")],
)
def test_few_images_change_little(images, transferred, expected):
    assert choose_freeze(images, transferred=transferred) == expected


def test_what_came_over_is_told(tmp_path, capsys):
    build(SMALL).save(tmp_path / "m.keras")
    job = DetectorJob(
        data=(), out=tmp_path / "run", network=SMALL, start=tmp_path / "m.keras",
        settings=Settings(epochs=1, freeze="none"),
    )  # fmt: skip
    network, _ = prepare_network(job, Dataset(("new",), ()), verbose=1)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    said = capsys.readouterr().err + capsys.readouterr().out
    whole = len(convolutions)
    assert f"{whole - 3} of {whole} layers start from {tmp_path / 'm.keras'}" in said
    assert "--freeze none: " in said
    assert "for 0 images --freeze backbone is usual" in said


def test_auto_is_settled_by_the_data(tmp_path):
    job = DetectorJob(
        data=(), out=tmp_path, start=tmp_path / "m.keras",
        settings=Settings(epochs=1, freeze=detector.AUTO),
    )  # fmt: skip
    settled = detector.apply_data_defaults(job, Dataset(("a",), ()))
    assert settled.settings.freeze == "backbone"


def test_layers_that_start_anew_are_not_frozen(tmp_path):
    config = replace(SMALL, backbone="vgg16", width=0.125, norm="none")
    model = build(config)
    keras.Model(model.input, model.get_layer("backbone_block5_pool").output).save(
        tmp_path / "backbone.keras"
    )
    job = DetectorJob(
        data=(), out=tmp_path / "run", network=config, start=tmp_path / "backbone.keras",
        settings=Settings(epochs=1, freeze="all"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"as chance made them .*--freeze backbone"):
        prepare_network(job, Dataset(("a", "b"), ()))
