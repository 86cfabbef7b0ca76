"""Quantising by measurement: what is kept, what is told, what is refused."""

import dataclasses
import hashlib

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from deploy.commands.app import app
from deploy.commands.quantize import _search_int8
from deploy.graph.manifest import read_manifest
from deploy.graph.session import open_infer
from deploy.quantize import accuracy
from deploy.quantize.accuracy import AccuracyCheck, build_accuracy_check
from deploy.quantize.quantizer import Quantizer, get_int8_options
from edge.errors import ConfigError, ModelError
from edge.manifest import Manifest
from tests.support.quantizable_networks import network, pictures
from trainers.data.dataset import Dataset
from trainers.data.read import read_dataset

MODEL = network()
MANIFEST = read_manifest(MODEL, "drawn")


def spread_of(outputs):
    return {"spread": 100 * float(outputs["detections"].std())}


@pytest.fixture
def quantizer():
    return Quantizer(MODEL, MANIFEST, AccuracyCheck(pictures(6), spread_of, max_loss=1.0))


def manifest_of(model):
    return read_manifest(model, "small")


def test_a_half_says_its_precision_and_where_it_came_from(quantizer):
    manifest = manifest_of(quantizer.to_fp16().model)
    assert manifest.precision == "fp16"
    assert manifest.source_sha256 == hashlib.sha256(MODEL).hexdigest()
    told = {"precision": "fp32", "source_sha256": MANIFEST.source_sha256}
    assert manifest.model_copy(update=told) == MANIFEST


def test_int8_says_its_precision_and_what_it_lost(quantizer):
    ranges = quantizer.observe_ranges(pictures(8), lambda _: None)
    trial = quantizer.trial(ranges, get_int8_options("cpu", seven_bits=False))
    assert manifest_of(trial.model).precision == "int8"
    assert trial.loss == pytest.approx(quantizer.before["spread"] - trial.figures["spread"])
    assert abs(trial.loss) < 5


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_figure_that_is_no_number_is_a_loss_that_is_none(names):
    figures = {"a": np.nan, "b": 50.0}
    check = AccuracyCheck(
        pictures(2), lambda _: {name: figures[name] for name in names}, max_loss=1.0
    )
    assert np.isnan(Quantizer(MODEL, MANIFEST, check).to_fp16().loss)


def test_any_number_is_better_than_none():
    marks = iter([50, np.nan, 20, 40, 30, 10, np.nan])  # FP32 first, then with more in float
    check = AccuracyCheck(pictures(2), lambda _: {"a": float(next(marks))}, max_loss=1.0)
    quantizer = Quantizer(MODEL, MANIFEST, check)
    assert _search_int8(quantizer, "tensorrt", pictures(2), seven_bits=False).loss == 10


def test_the_layer_whose_output_nobody_can_round_is_the_most_sensitive():
    proto = onnx.load_model_from_string(network(("", "silu", "")))
    layers = [node for node in proto.graph.node if node.op_type == "Conv"]
    weight = next(w for w in proto.graph.initializer if w.name == layers[1].input[1])
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0] *= 300  # one channel needs all of the steps that the second layer's output has
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    last = next(w for w in proto.graph.initializer if w.name == layers[2].input[1])
    array = onnx.numpy_helper.to_array(last).copy()
    array[0] /= 300  # and counts no more than the others
    last.CopyFrom(onnx.numpy_helper.from_array(array, last.name))
    quantizer = Quantizer(
        proto.SerializeToString(), MANIFEST, AccuracyCheck(pictures(6), spread_of, max_loss=1.0)
    )
    ranges = quantizer.observe_ranges(pictures(8), lambda _: None)
    done = []
    errors = quantizer.measure_sensitivity(
        ranges, get_int8_options("cpu", seven_bits=False), pictures(4), done.append
    )
    assert sum(done) == quantizer.layers == 3
    values = list(errors.values())
    assert values == sorted(values, reverse=True)
    assert list(errors)[-1] == layers[0].output[0]  # all of its channels are alike


def test_what_is_quantised_is_not_quantised_again(quantizer):
    small = quantizer.to_fp16().model
    with pytest.raises(ModelError, match="fp16 already"):
        Quantizer(small, manifest_of(small), AccuracyCheck(pictures(2), spread_of, max_loss=1.0))


def test_a_liveness_model_is_compared_with_its_own_decisions(monkeypatch):
    manifest = Manifest(task="liveness", name="alive", input_wh=(8, 8))
    monkeypatch.setattr(accuracy, "prepare_inputs", lambda *_: np.zeros((4, 1, 8, 8, 3), np.uint8))
    answers = iter([[0.9, 0.1, 0.8, 0.2]])
    nobody = Dataset(("face",), ())
    check = build_accuracy_check(manifest, nobody, lambda _: {"live": np.float32(next(answers))})
    assert check.score({"live": np.float32([0.6, 0.4, 0.5, 0.0])}) == {"same decisions": 100}
    assert check.score({"live": np.float32([0.6, 0.4, 0.4, 0.0])}) == {"same decisions": 75}


def test_an_embedder_is_examined_on_pairs(shared_data):
    manifest = Manifest(task="embed", name="faces", input_wh=(112, 112))
    dataset = read_dataset(shared_data / "ytf_dev")
    few = Dataset(dataset.classes, dataset.examples[:120])  # several of each person
    first, second = few.examples[:2]
    columns = ("xyxy", "class_id", "landmarks", "weight")
    both = {name: np.concatenate([getattr(e, name) for e in (first, second)]) for name in columns}
    two_faces = dataclasses.replace(first, name="two", **both)
    check = build_accuracy_check(
        manifest, Dataset(few.classes, (*few.examples, two_faces)), open_infer
    )
    used = [e for e in few.examples if np.isfinite(e.landmarks).all()]
    people = sorted({e.group for e in used})
    perfect = np.eye(len(people), dtype=np.float32)[[people.index(e.group) for e in used]]
    assert check.score({"embeddings": perfect}) == {"TAR at FAR 1e-3": 100}
    blind = np.ones_like(perfect)
    assert check.score({"embeddings": blind}) == {"TAR at FAR 1e-3": 0}
    assert check.inputs.shape == (len(used), 112, 112, 3)
    assert check.max_loss == 0.5


def test_an_exam_without_an_object_that_the_model_knows_is_refused(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("cat\ncow\n")
    for count, picture in enumerate(pictures(2)):
        cv2.imwrite(str(tmp_path / "images" / f"{count}.png"), picture)
        (tmp_path / "labels" / f"{count}.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    manifest = MANIFEST.model_copy(update={"classes": ("cat", "dog")})
    with pytest.raises(ConfigError, match="show no cat"):
        build_accuracy_check(manifest, read_dataset(tmp_path), open_infer(MODEL))


def quantize(shared_data, out, *options):
    arguments = ["quantize", "zoo:faces-nano", "--data", str(shared_data / "ytf_dev")]
    small = ["--calibrate", "6", "--max-images", "16", "--out", str(out)]
    return CliRunner().invoke(app, [*arguments, *small, *options])


def test_the_command_tells_accuracy_and_speed_and_writes_the_model(shared_data, tmp_path):
    out = tmp_path / "small.onnx"
    output = quantize(shared_data, out, "--int8")
    assert output.exit_code == 0, output.output
    assert "AP50" in output.output
    assert "times as fast" in output.output
    manifest = Manifest.from_metadata(
        {e.key: e.value for e in onnx.load(out).metadata_props}, "small", "faces"
    )
    assert manifest.precision == "int8"


def test_what_loses_too_much_is_refused_unless_forced(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "AP_POINTS", -100.0)
    out = tmp_path / "small.onnx"
    output = quantize(shared_data, out, "--fp16")
    assert output.exit_code == 1
    assert "--force" in output.output
    assert not out.exists()
    assert quantize(shared_data, out, "--fp16", "--force").exit_code == 0
    assert out.exists()


def test_a_loss_that_is_no_number_is_refused_unless_forced(shared_data, tmp_path, monkeypatch):
    def unmarkable(manifest, dataset, infer):
        inputs = accuracy.prepare_inputs(manifest, dataset.examples[:1])
        return AccuracyCheck(inputs, lambda _: {"AP": np.nan}, max_loss=1.0)

    monkeypatch.setattr(accuracy, "build_accuracy_check", unmarkable)
    out = tmp_path / "small.onnx"
    output = quantize(shared_data, out, "--fp16")
    assert output.exit_code == 1
    assert "loses nan points" in output.output
    assert not out.exists()
    assert quantize(shared_data, out, "--fp16", "--force").exit_code == 0
    assert out.exists()


def test_an_exam_in_which_the_original_finds_nothing_measures_nothing(
    shared_data, tmp_path, monkeypatch
):
    def finds_nothing(manifest, dataset, infer):
        inputs = accuracy.prepare_inputs(manifest, dataset.examples[:1])
        return AccuracyCheck(inputs, lambda _: {"AP50": 0.0, "AP": 0.0}, max_loss=1.0)

    monkeypatch.setattr(accuracy, "build_accuracy_check", finds_nothing)
    out = tmp_path / "small.onnx"
    output = quantize(shared_data, out, "--fp16")
    assert output.exit_code == 1
    assert "finds next to nothing of what is labeled (AP50 0.00, AP 0.00)" in output.output
    assert not out.exists()
    assert quantize(shared_data, out, "--fp16", "--force").exit_code == 0


@pytest.mark.parametrize("options", [[], ["--int8", "--fp16"], ["--int8", "--target", "tpu"]])
def test_a_precision_and_a_known_target_must_be_chosen(options, tmp_path):
    arguments = ["quantize", "zoo:faces-nano", "--data", str(tmp_path)]
    assert CliRunner().invoke(app, [*arguments, *options]).exit_code == ConfigError.exit_code
