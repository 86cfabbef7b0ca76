"""The encoder: shapes, what fades, and MobileFaceNet's layers as a start."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.export.detector import export_encoder
from deploy.graph.manifest import Provenance
from deploy.graph.session import open_session
from edge.errors import ConfigError, ModelError
from tests.support.drawn_data import shared
from trainers import embedder
from trainers.networks import mobilefacenet as encoder
from trainers.networks.config import ENCODERS, EncoderConfig
from trainers.networks.mobilefacenet import Fading, build, set_remaining_slope
from trainers.weights import mobilefacenet
from trainers.weights.mobilefacenet import ORIGINAL
from trainers.weights.onnx import Convolution

TINY = EncoderConfig(
    dimension=8, stem=8, widths=(8, 8, 8), depths=(1, 1, 1), inner=(8, 8, 8), down=(8, 8, 8),
    last=16,
)  # fmt: skip


def faces(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, 112, 112, 3)).astype(np.float32)


def test_embeddings_have_unit_length():
    rows = keras.ops.convert_to_numpy(build(TINY)(faces()))
    assert rows.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", ENCODERS)
def test_an_encoder_is_built_again_from_its_configuration(size):
    config = ENCODERS[size]
    assert EncoderConfig.from_json({**config.to_json(), "since": "later"}) == config
    names = [layer.name for layer in build(config).layers if hasattr(layer, "kernel")]
    assert names == encoder.convolutions(config)


def test_slopes_fade_from_prelu_to_relu():
    layer = Fading()
    values = np.float32([[-2, 3]])
    layer(values)
    layer.slope.assign([0.25, -1.0])
    for left, expected in ((1.0, [-0.5, 3]), (0.5, [-0.25, 3]), (0.0, [0, 3])):
        layer.left.assign(left)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(values))[0], expected)


def test_a_settled_encoder_is_the_same_without_fading():
    config = EncoderConfig(**{**TINY.to_json(), "norm": "none", "fading": True})
    network = build(config)
    with pytest.raises(ConfigError, match="faded"):
        embedder.remove_fading(network, config)
    set_remaining_slope(network, 0.0)
    bare, plain = embedder.remove_fading(network, config)
    assert not plain.fading
    assert not any(isinstance(layer, Fading) for layer in bare.layers)
    ours, theirs = (keras.ops.convert_to_numpy(x(faces())) for x in (bare, network))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def original(seed: int = 0) -> dict[str, Convolution]:
    """Weights as a file would hold them, by chance."""
    rng = np.random.default_rng(seed)
    network, parts = build(mobilefacenet.ORIGINAL), {}
    for name in encoder.convolutions(mobilefacenet.ORIGINAL):
        shape = tuple(network.get_layer(name).kernel.shape)
        depthwise = isinstance(network.get_layer(name), keras.layers.DepthwiseConv2D)
        count = shape[2] if depthwise else shape[3]
        fan = np.prod(shape[:2]) * (1 if depthwise else shape[2])
        parts[name] = Convolution(
            rng.normal(0, 1.4 / np.sqrt(fan), shape).astype(np.float32),
            rng.normal(0, 0.1, count).astype(np.float32),
            rng.uniform(-0.5, 0.5, count).astype(np.float32),
        )
    return parts


def test_channels_that_do_nothing_are_the_first_to_go():
    config = EncoderConfig(
        stem=64, inner=(128, 256, 256), down=(64, 256, 512), norm="none", fading=True
    )
    parts = original()
    silent = np.arange(0, 128, 2)  # every second channel of the widest block is never read
    reader = parts["stage1_down_narrow"]
    reader.kernel[:, :, silent] = 0
    thin = mobilefacenet.prune_channels(parts, config, faces(3).astype(np.uint8))
    whole, small = build(mobilefacenet.ORIGINAL), build(config)
    mobilefacenet.assign_weights(whole, parts)
    mobilefacenet.assign_weights(small, thin)
    ours, theirs = (keras.ops.convert_to_numpy(x(faces())) for x in (small, whole))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_file_of_another_network_is_refused(tmp_path):
    value = helper.make_tensor_value_info
    kernel = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "kernel")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])], "other",
        [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 4, 6, 6])], [kernel],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="MobileFaceNet"):
        mobilefacenet.read_parts(tmp_path / "other.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not an ONNX"):
        mobilefacenet.read_parts(tmp_path / "broken.onnx")


def test_the_original_is_read_whole(adopt_file):
    """Before anything has faded the start is the file's own network."""
    from deploy.adopt.adopt import Adoption
    from deploy.graph.session import open_session

    file = shared("models") / "mobilefacenet_128d_112x112.onnx"
    adopted = adopt_file(file.name, Adoption("arcface", "mobilefacenet", ()))
    crops = np.random.default_rng(1).integers(0, 255, (2, 14, 14, 3), np.uint8)
    crops = crops.repeat(8, 1).repeat(8, 2)
    (expected,) = open_session(adopted.read_bytes()).run(None, {"faces": crops})
    network = build(mobilefacenet.ORIGINAL)
    mobilefacenet.assign_weights(network, mobilefacenet.read_parts(file))
    found = keras.ops.convert_to_numpy(network(crops.astype(np.float32)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_with_prelu_it_is_the_original(shared_data):
    path = shared_data / "models" / "mobilefacenet_128d_112x112.onnx"
    network = build(replace(ORIGINAL, fading=False, activation="prelu"))
    mobilefacenet.assign_weights(network, mobilefacenet.read_parts(path))
    crops = np.random.default_rng(0).integers(0, 256, (2, 14, 14, 3)).repeat(8, 1).repeat(8, 2)
    said = keras.ops.convert_to_numpy(network(crops.astype(np.float32)))
    model = export_encoder(network, Provenance("same", metrics={"threshold": 0.3}))
    (found,) = open_session(model).run(None, {"faces": crops.astype(np.uint8)})
    session = open_session(path.read_bytes())
    for row, crop in enumerate(crops):
        planes = crop.transpose(2, 0, 1)[None].astype(np.float32)
        (plain,) = session.run(None, {"data": planes})
        np.testing.assert_allclose(said[row], plain[0] / np.linalg.norm(plain), atol=2e-5)
    np.testing.assert_allclose(found, said, atol=1e-5)
