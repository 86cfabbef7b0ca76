"""A Keras network and the model exported from it find the same."""

import json
from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import TensorProto, helper
from typer.testing import CliRunner

from deploy.commands.app import app
from deploy.export.detector import append_decoding, export_detector
from deploy.export.keras_layers import Writer
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance
from deploy.graph.nms import NmsOverrides
from edge.errors import ConfigError, ModelError
from edge.manifest import KEY, Manifest
from edge.vision import boxes
from tests.support.tiny_networks import NANO, pictures, run, untrained
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build, decode
from trainers.weights.transfer import read_convolutions, read_onnx

ANCHORS = tuple(tuple((8.0 * s * k, 10.0 * s * k) for k in (1, 2, 3)) for s in (1, 2, 4))
NETWORKS = {
    "nano, wide": NANO,
    "anchors, high, no normalisation": replace(
        NANO, input_wh=(64, 96), head="anchor", anchors_wh=ANCHORS, norm="none"
    ),
    "faces": NetworkConfig(
        ("face",), (64, 64), "slim", activation="relu", neck_channels=(32, 32, 32),
        head_depth=1, shared_head=True, landmarks=True,
    ),
    "yunet": NetworkConfig(
        ("face",), (96, 64), "yunet", landmarks=True, points_in="strides", norm="none"
    ),
    "squeezenet, fpn": NetworkConfig(("a",), (64, 64), "squeezenet", 0.5, neck="fpn"),
    "vgg16": NetworkConfig(("a",), (64, 64), "vgg16", 0.1),
    "resnet18": NetworkConfig(("a",), (96, 64), "resnet18", 0.25),
    "published vgg16": NetworkConfig(("a",), (64, 64), "vgg16", 0.1, convention="published"),
    "published squeezenet": NetworkConfig(
        ("a",), (64, 64), "squeezenet", 0.5, convention="published"
    ),
    "published resnet50": NetworkConfig(
        ("a",), (96, 64), "resnet50", 0.1, convention="published"
    ),
}  # fmt: skip


def bare(network, config):
    """The graph up to NMS, for maps (N, 3, h, w): raw rows, boxes, scores, points."""
    proto = helper.make_model(
        onnx.GraphProto(name="bare"), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    graph = Graph(proto.graph)
    width, height = config.input_wh
    value = helper.make_tensor_value_info
    proto.graph.input.append(value("images", TensorProto.FLOAT, ["N", 3, height, width]))
    rows = Writer(graph, network).write("images").name
    raw = append_decoding(graph, rows, config)
    score = graph.add("Mul", raw.scores, raw.objectness)
    wanted = {"rows": rows, "boxes": raw.boxes, "score": score, "points": raw.points}
    for name, inner in wanted.items():
        if inner:
            graph.rename(inner, name)
            proto.graph.output.append(value(name, TensorProto.FLOAT, None))
    return proto.SerializeToString()


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_the_graph_computes_what_keras_computes(config):
    network = untrained(config)
    images = pictures(config).astype(np.float32)
    found = run(bare(network, config), images.transpose(0, 3, 1, 2))
    raw = network(images, training=False)
    want = decode(raw, config)
    assert np.abs(found["rows"] - np.asarray(raw)).max() < 1e-3
    # The raw values agree to 1e-3. A size is their exponential, a center their product with the
    # stride, so corners may differ by 1e-3 of the box's size and of the largest stride.
    xyxy = np.asarray(want.xyxy)
    size = np.abs(xyxy[..., 2:] - xyxy[..., :2]).max(axis=-1, keepdims=True)
    assert (np.abs(found["boxes"] - xyxy) < 1e-3 * (size + 32)).all()
    assert np.abs(found["score"] - np.asarray(want.score)).max() < 1e-4
    assert ("points" in found) == config.landmarks
    if config.landmarks:
        points = np.asarray(want.points).reshape(found["points"].shape)
        assert (np.abs(found["points"] - points) < 1e-3 * (size + 32)).all()


def test_rows_of_a_batch_are_the_greedy_nms_of_what_keras_finds():
    network, choice = untrained(NANO), NmsOverrides(score=0.3, rows=40, candidates=126)
    batch = pictures(NANO)
    rows = run(export_detector(network, NANO, choice.nms("detect"), Provenance("tiny")), batch)[
        "detections"
    ]
    assert rows.shape == (3, 40, 6)
    want = decode(network(batch.astype(np.float32), training=False), NANO)
    some = 0
    for picture in range(3):
        score = np.asarray(want.score[picture])
        kind, score = score.argmax(1).astype(np.int32), score.max(1)
        enough = np.flatnonzero(score >= 0.3)
        xyxy = np.asarray(want.xyxy[picture])[enough]
        kept = boxes.nms(xyxy, score[enough], kind[enough], 0.65)[:40]
        some += len(kept)
        expected = np.concatenate(
            [xyxy[kept], score[enough][kept, None], kind[enough][kept, None]], axis=1
        )
        assert np.allclose(rows[picture, : len(kept)], expected, atol=0.01)
        assert not rows[picture, len(kept) :].any()
    assert some > 3  # or the test proves nothing


def test_a_face_finder_keeps_the_contract_of_faces():
    config = NETWORKS["faces"]
    model = export_detector(
        untrained(config), config, NmsOverrides().nms("faces"), Provenance("f", "MIT")
    )
    found = run(model, pictures(config, 2))
    assert found["detections"].shape == (2, 100, 6)
    assert found["landmarks"].shape == (2, 100, 5, 2)
    manifest = manifest_of(model)
    assert (manifest.task, manifest.classes) == ("faces", ("face",))
    assert (manifest.score_threshold, manifest.iou_threshold) == (0.5, 0.45)
    assert (manifest.letterbox_align, manifest.license) == ("top_left", "MIT")


def test_padding_normalisation_and_upsampling_leave_no_nodes_of_their_own():
    proto = onnx.load_model_from_string(
        export_detector(untrained(NANO), NANO, NmsOverrides().nms("detect"), Provenance("tiny"))
    )
    kinds = [node.op_type for node in proto.graph.node]
    assert not {"Pad", "BatchNormalization", "Tile", "Shape"} & set(kinds)
    assert kinds.count("Conv") == sum(1 for _ in read_convolutions(build(NANO)))
    assert kinds.count("Resize") == 2


def test_an_exported_file_can_be_started_from_by_layer_name(tmp_path):
    network = untrained(NANO)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(
        export_detector(network, NANO, NmsOverrides().nms("detect"), Provenance("tiny"))
    )
    found = read_onnx(path)
    want = dict(read_convolutions(network))
    assert found.keys() == want.keys()
    assert all(np.array_equal(found[name].kernel, want[name].kernel) for name in want)


def test_a_layer_that_is_not_ours_is_named():
    images = keras.Input((64, 64, 3))
    strange = keras.Model(images, layers.GlobalMaxPooling2D(name="strange")(images))
    with pytest.raises(ModelError, match="layer strange is a GlobalMaxPooling2D"):
        export_detector(strange, NANO, NmsOverrides().nms("detect"), Provenance("tiny"))


@pytest.mark.parametrize("name", ["", "two words", "x" * 65])
def test_a_bad_name_is_refused(name):
    with pytest.raises(ModelError, match="--name"):
        export_detector(build(NANO), NANO, NmsOverrides().nms("detect"), Provenance(name))


# --- the command ------------------------------------------------------------------------------


def test_export_writes_the_best_network_and_its_provenance_beside_the_run(trained):
    words = ["export", str(trained.path), "--license", "CC-BY-4.0", "--score", "0.2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "edge detect PICTURE --detector" in done.output
    model = (trained.path / "my-run.onnx").read_bytes()
    manifest = manifest_of(model)
    assert (manifest.name, manifest.license) == ("my-run", "CC-BY-4.0")
    assert manifest.family == "edge-nano"
    assert manifest.trained_on == f"gate (12 pictures, sha256 {'ab' * 6}), started from base.onnx"
    assert manifest.metrics == {"ap50": 0.5}
    assert (manifest.score_threshold, manifest.iou_threshold) == (0.2, 0.65)
    assert run(model, pictures(NANO))["detections"].shape == (3, 100, 6)


def test_a_network_that_found_nothing_is_exported_only_by_force(trained, tmp_path):
    trained.write("metrics.json", {"epoch": 3, "ap50": 0.0, "ap": 0.0})
    try:
        words = ["export", str(trained.path), "--out", str(tmp_path / "m.onnx")]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1
        assert "found nothing in validation (AP50 0)" in done.stderr
        assert not (tmp_path / "m.onnx").exists()
        assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    finally:
        trained.write("metrics.json", {"epoch": 3, "ap50": 0.5, "ap": None})


def test_a_run_that_does_not_exist_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.commands.app.load_keras", lambda: pytest.fail("Keras was loaded"))
    done = CliRunner().invoke(app, ["export", str(tmp_path / "nowhere")])
    assert done.exit_code == 78
    assert "nowhere does not exist" in done.stderr


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda folder: None, "holds no run"),
        (lambda folder: (folder / "config.json").write_text("{"), "no best.keras yet"),
        (
            lambda folder: (
                (folder / "config.json").write_text("{"),
                (folder / "best.keras").write_text("x"),
            ),
            "cannot be read",
        ),
    ],
)
def test_export_says_what_a_folder_lacks(tmp_path, prepare, says):
    prepare(tmp_path)
    done = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


def manifest_of(model):
    proto = onnx.load_model_from_string(model)
    text = {entry.key: entry.value for entry in proto.metadata_props}[KEY]
    return Manifest.model_validate(json.loads(text))


# --- what was exported before -----------------------------------------------------------------


def again(tmp_path, *options):
    """Export ``first.onnx`` of a folder again; what the command said and the new model's path."""
    out = tmp_path / "again.onnx"
    words = ["export", str(tmp_path / "first.onnx"), "--out", str(out), *options]
    return CliRunner().invoke(app, words), out


@pytest.fixture
def first(tmp_path):
    """A model that ``export`` wrote, rows chosen otherwise than usual."""
    provenance = Provenance("first", "CC-BY-4.0", "drawings", {"ap50": 0.5})
    model = export_detector(untrained(NANO), NANO, NmsOverrides(0.3, 0.5).nms("detect"), provenance)
    (tmp_path / "first.onnx").write_bytes(model)
    return model


def test_an_exported_model_exported_again_finds_the_same(tmp_path, first):
    done, out = again(tmp_path)
    assert done.exit_code == 0, done.output
    for name, rows in run(first, pictures(NANO)).items():
        np.testing.assert_allclose(run(out.read_bytes(), pictures(NANO))[name], rows, atol=1e-3)
    manifest = manifest_of(out.read_bytes())
    assert (manifest.name, manifest.license) == ("first-again", "CC-BY-4.0")
    assert (manifest.trained_on, manifest.metrics) == ("drawings", {})  # measured on the other
    assert (manifest.score_threshold, manifest.iou_threshold) == (0.3, 0.5)


def test_an_exported_model_can_be_had_for_another_input(tmp_path, first):
    done, out = again(tmp_path, "--input-size", "64x32", "--rows", "7", "--score", "0.2")
    assert done.exit_code == 0, done.output
    manifest = manifest_of(out.read_bytes())
    assert (manifest.input_wh, manifest.score_threshold) == ((64, 32), 0.2)
    assert manifest.name == "first-64x32"
    wide = np.zeros((2, 32, 64, 3), np.uint8)
    assert run(out.read_bytes(), wide)["detections"].shape == (2, 7, 6)


def nameless(model):
    """Weights and nodes do not carry our layer names."""
    proto = onnx.load_model_from_string(model)
    for weight in proto.graph.initializer:
        weight.name = "x" + weight.name
    for node in proto.graph.node:
        node.name = ""
        node.input[:] = [
            "x" + i if any(w.name == "x" + i for w in proto.graph.initializer) else i
            for i in node.input
        ]
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda model: model, ["--input-size", "33x64"], "multiples of 32"),
        (lambda model: model[:100], [], "first.onnx"),
        (lambda model: model.replace(b"edge.network", b"edge.other--"), [], "build its network"),
        (nameless, [], "lacks weights in float32"),
    ],
)
def test_what_cannot_be_exported_again_is_named(tmp_path, first, change, options, says):
    (tmp_path / "first.onnx").write_bytes(change(first))
    done, out = again(tmp_path, *options)
    assert done.exit_code == 78
    assert says in done.output
    assert not out.exists()
