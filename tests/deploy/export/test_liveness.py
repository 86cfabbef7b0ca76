"""Export of liveness networks: ONNX Runtime says what Keras says; MiniFASNet survives the way."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from deploy.adopt.minifasnet import adopt_minifasnet
from deploy.export.keras_layers import Writer
from deploy.export.liveness import export_liveness
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance
from deploy.graph.model_proto import OPSET
from deploy.graph.session import open_session
from edge import plugins
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.models.contract import load_model
from tests.support.tiny_networks import lively
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import build
from trainers.weights.minifasnet import start_from

CONFIGS = {
    "one picture": LivenessConfig(),
    "one scale": LivenessConfig((2.7,), branches=("squeeze",)),
    "along time": LivenessConfig(frames=3, over_time="conv1d"),
    "time and place": LivenessConfig(frames=4, over_time="conv3d"),
}


def clips_of(config: LivenessConfig, count: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, config.crops, 10, 10, 3), np.uint8)
    return small.repeat(8, 2).repeat(8, 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_runtime_says_what_keras_says(name):
    config = CONFIGS[name]
    network, clips = lively(build(config)), clips_of(config)
    session = open_session(export_liveness(network, config, Provenance("tiny")))
    (live,) = session.run(["live"], {"faces": clips})
    said = ops.convert_to_numpy(network(clips.astype(np.float32)))
    assert live == pytest.approx(said, abs=1e-4)
    assert np.ptp(said) > 1e-3, "a network that always says the same shows nothing"


def test_the_model_keeps_the_contract_in_the_daemons_hands(tmp_path):
    config = CONFIGS["along time"]
    model = export_liveness(build(config), config, Provenance("tiny", "MIT", "noise"))
    (tmp_path / "tiny.onnx").write_bytes(model)
    runtime = plugins.create("runtimes", {"kind": "onnx", "workers": 1})
    live = load_model("liveness", runtime, tmp_path / "tiny.onnx")
    assert (live.clip_frames, live.manifest.crop_scales) == (3, (2.7, 4.0))
    said = live.live(clips_of(config))
    assert said.shape == (3,)
    assert np.isfinite(said).all()


def test_a_bad_name_is_refused():
    config = CONFIGS["one scale"]
    with pytest.raises(ModelError, match="cannot be named"):
        export_liveness(build(config), config, Provenance("a b"))


def test_a_slope_for_each_pixel_is_refused():
    images = keras.Input((4, 4, 3))
    x = layers.Conv2D(2, 1, name="a")(images)
    network = keras.Model(images, layers.PReLU(name="a_act")(x))
    with pytest.raises(ModelError, match="a_act"):
        Writer(Graph(onnx.GraphProto(), OPSET), network).write("images")


@pytest.fixture(scope="module")
def minifasnet(shared_data, tmp_path_factory):
    folder = shared_data / "models"
    files = [(folder / f"minifasnet_live_{n}.onnx").read_bytes() for n in (1, 2)]
    path = tmp_path_factory.mktemp("pair") / "pair.onnx"
    path.write_bytes(adopt_minifasnet(files, "pair"))
    return path


def test_a_network_that_starts_from_minifasnet_says_what_it_says(minifasnet):
    config = LivenessConfig()
    network, clips = build(config), clips_of(config, 6)
    assert start_from(network, config, minifasnet) == 108
    (theirs,) = open_session(minifasnet.read_bytes()).run(None, {"faces": clips})
    exported = export_liveness(network, config, Provenance("ours"))
    (ours,) = open_session(exported).run(None, {"faces": clips})
    assert ours == pytest.approx(theirs, abs=1e-5)
    manifest = Manifest.from_metadata(
        open_session(exported).get_modelmeta().custom_metadata_map, "ours", "liveness"
    )
    assert manifest.crop_scales == (2.7, 4.0)
