"""An encoder and the model exported from it describe faces the same way."""

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.commands.app import app
from deploy.export.detector import export_encoder
from deploy.graph.manifest import Provenance
from deploy.graph.session import open_session
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.models.contract import load_model
from edge.runtimes.onnx import Options
from edge.runtimes.onnx import build as runtime
from trainers.networks.config import EncoderConfig
from trainers.networks.mobilefacenet import build
from trainers.run.folder import RunFolder, build_run_config
from trainers.run.settings import Settings

SMALL = EncoderConfig(
    dimension=16, stem=8, widths=(8, 8, 8), depths=(1, 2, 1), inner=(16, 8, 8), down=(8, 8, 16),
    last=24,
)  # fmt: skip


def trained(norm="batch", **options):
    """An encoder with statistics and weights as training leaves them."""
    keras.utils.set_random_seed(3)
    network = build(EncoderConfig(**{**SMALL.to_json(), "norm": norm, **options}))
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            values = (rng.uniform(0.5, 1.5, count), rng.normal(0, 0.2, count),
                      rng.normal(0, 0.2, count), rng.uniform(0.02, 0.1, count))  # fmt: skip
            layer.set_weights(values)
    return network


def crops(count=3):
    coarse = np.random.default_rng(1).integers(0, 255, (count, 14, 14, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_keras_and_onnx_runtime_agree(norm):
    network = trained(norm)
    model = export_encoder(network, Provenance("small", metrics={"threshold": 0.3}))
    (found,) = open_session(model).run(None, {"faces": crops()})
    expected = keras.ops.convert_to_numpy(network(crops().astype(np.float32), training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3  # it does tell them apart


def test_the_model_keeps_the_contract(tmp_path):
    path = tmp_path / "small.onnx"
    told = Provenance("small", "MIT", "drawings", {"threshold": 0.3})
    path.write_bytes(export_encoder(trained(), told))
    session = open_session(path.read_bytes())
    (source,), (output,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.type, source.shape[1:]) == ("faces", "tensor(uint8)", [112, 112, 3])
    assert (output.name, output.type, output.shape[1:]) == ("embeddings", "tensor(float)", [16])
    loaded = load_model("embed", runtime(Options()), path)
    assert (loaded.name, loaded.dimension, loaded.threshold) == ("small", 16, 0.3)
    np.testing.assert_allclose(np.linalg.norm(loaded.embed(crops()), axis=1), 1, atol=1e-5)


def test_slopes_that_have_not_faded_cannot_be_exported():
    with pytest.raises(ModelError, match="Fading"):
        export_encoder(trained("none", fading=True), Provenance("small"))


def test_a_run_is_exported_with_what_it_learned_from_and_its_threshold(tmp_path):
    values = build_run_config(
        "embed", SMALL, SMALL, Settings(), paths=["/somewhere/faces"], teacher="big", start=""
    )
    about = {"pictures": 7, "data_sha256": "ab" * 32}
    folder = RunFolder.begin(tmp_path / "run", values, about, resume=False)
    trained().save(folder.best)
    folder.write("metrics.json", {"epoch": 3, "auc": 0.9, "threshold": 0.25})
    done = CliRunner().invoke(app, ["export", str(folder.path), "--name", "small"])
    assert done.exit_code == 0, done.output
    session = open_session((folder.path / "small.onnx").read_bytes())
    metadata = session.get_modelmeta().custom_metadata_map
    manifest = Manifest.from_metadata(metadata, "small", "embed")
    assert manifest.metrics == {"auc": 0.9, "threshold": 0.25}
    assert manifest.trained_on == "faces (7 pictures, sha256 abababababab), taught by big"
    assert "somewhere" not in manifest.trained_on
