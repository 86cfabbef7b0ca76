"""The liveness network: its shapes, its parts, what it takes over from a file."""

import keras
import numpy as np
import pytest
from keras import ops

from edge.errors import ConfigError
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import build, build_blank_clip, convolutions, index_layers
from trainers.weights.minifasnet import start_from

SMALL = LivenessConfig((2.7,), branches=("plain",))


@pytest.fixture(scope="module")
def pair():
    return build(LivenessConfig())


def clips_of(config: LivenessConfig, count: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, config.crops, 10, 10, 3), np.uint8)
    return small.repeat(8, 2).repeat(8, 3)


@pytest.mark.parametrize(
    ("frames", "over_time"), [(1, "none"), (4, "conv1d"), (3, "conv3d"), (2, "conv3d")]
)
def test_every_network_says_one_probability_a_clip(frames, over_time):
    config = LivenessConfig((2.7,), frames=frames, over_time=over_time, branches=("plain",))
    said = ops.convert_to_numpy(build(config)(clips_of(config).astype(np.float32)))
    assert said.shape == (2,)
    assert ((said > 0) & (said < 1)).all()


def test_a_network_over_time_sees_the_order_of_pictures():
    config = LivenessConfig((2.7,), frames=4, over_time="conv1d", branches=("plain",))
    over_time = build(config).get_layer("over_time")
    rows = np.random.default_rng(1).normal(0, 1, (2, 4, 1, 128)).astype(np.float32)
    forwards, backwards = (ops.convert_to_numpy(over_time(x)) for x in (rows, rows[:, ::-1]))
    assert np.abs(forwards - backwards).max() > 1e-3


def test_the_layers_are_named_in_the_order_of_minifasnets_file(pair):
    names = [n for row, kind in enumerate(("plain", "squeeze"))
             for n in convolutions(f"scale{row}", kind)]  # fmt: skip
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    assert names == [n for n, layer in index_layers(pair).items() if isinstance(layer, kinds)]


def test_a_configuration_survives_json():
    config = LivenessConfig(frames=4, over_time="conv1d")
    assert LivenessConfig.from_json({**config.to_json(), "scales": [2.7, 4.0]}) == config


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"frames": 4}, "do not go with over_time"),
        ({"over_time": "conv1d"}, "do not go with over_time"),
        ({"input_wh": (64, 80)}, "from 80 on"),
        ({"scales": (2.7,)}, "branches must name one per scale"),
        ({"branches": ("plain", "round")}, "must be of"),
        ({"frames": 2, "over_time": "lstm"}, "over_time must be"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(wrong, what):
    with pytest.raises(ConfigError, match=what):
        LivenessConfig(**wrong)


def test_a_saved_network_says_the_same_and_can_be_started_from(tmp_path):
    network, clips = build(SMALL), clips_of(SMALL).astype(np.float32)
    network.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras", compile=False)
    said = ops.convert_to_numpy(network(clips))
    assert ops.convert_to_numpy(loaded(clips)) == pytest.approx(said)
    keras.utils.set_random_seed(5)
    other = build(SMALL)
    assert ops.convert_to_numpy(other(clips)) != pytest.approx(said, abs=1e-7)
    assert start_from(other, SMALL, tmp_path / "a.keras") > 40
    assert ops.convert_to_numpy(other(clips)) == pytest.approx(said)


def test_a_network_over_time_starts_from_the_branches_of_one_picture(tmp_path):
    build(SMALL).save(tmp_path / "a.keras")
    config = LivenessConfig((2.7,), frames=2, over_time="conv1d", branches=("plain",))
    network = build(config)
    before = index_layers(network)["over_time_conv0"].get_weights()[0].copy()
    start_from(network, config, tmp_path / "a.keras")
    assert np.array_equal(index_layers(network)["over_time_conv0"].get_weights()[0], before)


@pytest.mark.parametrize("name", ["nothing.keras", "weights.h5"])
def test_a_start_that_cannot_be_names_the_file(tmp_path, name):
    if name.endswith(".h5"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=name):
        start_from(build(SMALL), SMALL, tmp_path / name)


def test_a_blank_clip_has_the_networks_shape():
    assert build_blank_clip(LivenessConfig(frames=2, over_time="conv3d")).shape == (1, 4, 80, 80, 3)
