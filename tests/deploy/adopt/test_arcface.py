"""Adopted embedders: unit vectors, equal to the foreign network's, in any batch."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.adopt.adopt import Adoption, adopt
from edge import plugins
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.models.contract import load_model


def network(side=112, outputs=1):
    """A foreign embedder of a few bytes: mean colour of three channels, shifted."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "shift"], ["embeddings"]),
        helper.make_node("Neg", ["embeddings"], ["other"]),
    ]
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, side, side])
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])
        for name in ("embeddings", "other")[:outputs]
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 3], np.int64), "shape"),
        numpy_helper.from_array(np.array([100, 120, 90], np.float32), "shift"),
    ]
    graph = helper.make_graph(nodes, "foreign", [picture], results, weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def pictures(count):
    rng = np.random.default_rng(3)
    return np.repeat(np.repeat(rng.integers(0, 255, (count, 14, 14, 3), np.uint8), 8, 1), 8, 2)


@pytest.fixture
def embedder(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(adopt(network(), Adoption("arcface", "tiny", (), threshold=0.35)))
    return load_model("embed", plugins.create("runtimes", {"kind": "onnx"}), path)


def test_an_adopted_embedder_knows_its_threshold_and_size(embedder):
    assert (embedder.name, embedder.dimension, embedder.threshold) == ("tiny", 3, 0.35)


@pytest.mark.parametrize("count", [0, 1, 5, 70])
def test_any_number_of_faces_gives_unit_vectors(embedder, count):
    found = embedder.embed(pictures(count))
    assert found.shape == (count, 3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    if count:
        assert np.allclose(found[-1:], embedder.embed(pictures(count)[-1:]), atol=1e-5)


def test_the_manifest_tells_what_it_is():
    proto = onnx.load_model_from_string(adopt(network(), Adoption("arcface", "tiny", ())))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    manifest = Manifest.from_metadata(metadata, "tiny", "embed")
    assert manifest.family == "arcface"
    assert manifest.input_wh == (112, 112)
    assert manifest.classes == ()


@pytest.mark.parametrize("foreign", [network(side=96), network(outputs=2)])
def test_another_kind_of_network_is_refused(foreign):
    with pytest.raises(ModelError, match="choose the family that fits"):
        adopt(foreign, Adoption("arcface", "tiny", ()))


def test_mobilefacenet_gives_what_it_gave_before(adopt_file, shared_data):
    foreign = "mobilefacenet_128d_112x112.onnx"
    path = adopt_file(foreign, Adoption("arcface", "mobilefacenet", ()))
    embedder = load_model("embed", plugins.create("runtimes", {"kind": "onnx"}), path)
    faces = pictures(3)
    found = embedder.embed(faces)
    assert found.shape == (3, 128)
    session = ort.InferenceSession(shared_data / "models" / foreign)
    for row, face in enumerate(faces):
        planes = face.transpose(2, 0, 1)[None].astype(np.float32)
        (plain,) = session.run(None, {"data": planes})
        assert np.allclose(found[row], plain[0] / np.linalg.norm(plain), atol=1e-5)
