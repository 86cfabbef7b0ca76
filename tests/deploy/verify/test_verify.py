"""Every engine that is here is compared, of models of any task; what cannot run has a reason."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from deploy.commands.app import app
from edge.engines.cache import DEFAULT, BuildOptions, EngineCache, EngineKey, EngineTarget
from edge.errors import ConfigError, ModelError
from edge.models.paths import resolve_model
from tests.support.tiny_networks import NANO, lively, pictures
from tests.support.triton_server import Service, serving
from trainers.networks import minifasnet as fasnet
from trainers.networks import mobilefacenet as encoder
from trainers.run.folder import RunFolder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A model exported from the run, and a folder of pictures."""
    folder = tmp_path_factory.mktemp("verify")
    words = ["export", str(trained.path), "--out", str(folder / "m.onnx"), "--score", "0.4"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (folder / "pictures").mkdir()
    for count, picture in enumerate(pictures(NANO, 5, seed=3)):
        cv2.imwrite(str(folder / "pictures" / f"{count}.png"), picture[:, :, ::-1])
    return folder


def verify(*words):
    return CliRunner().invoke(app, ["verify", *map(str, words)])


def test_an_exported_model_finds_what_its_network_finds(trained, exported):
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words, "--json")
    assert done.exit_code == 0, done.output
    result = next(x for x in json.loads(done.stdout)["engines"] if x["engine"] == "onnx")
    assert (result["pictures"], result["differ"], result["worst"]) == (5, 0, None)
    assert result["rows"] > 20


def test_pictures_in_which_nothing_is_found_verify_nothing(trained, exported):
    words = ["export", str(trained.path), "--out", str(exported / "blind.onnx"), "--score", "0.999"]
    assert CliRunner().invoke(app, words).exit_code == 0
    words = (exported / "blind.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words)
    assert done.exit_code == 1
    assert "nothing was compared: keras finds nothing in these 5 pictures" in done.stderr


def test_a_perturbed_model_fails_and_the_worst_case_is_shown(trained, exported):
    proto = onnx.load(exported / "m.onnx")
    bias = next(i for i in proto.graph.initializer if i.name == "head_0_reg_pred/bias")
    moved = numpy_helper.to_array(bias) + np.float32([0.2, 0, 0, 0])  # 1.6 px to the right
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(proto, exported / "moved.onnx")
    words = (exported / "moved.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words)
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    worst = next(i for i, line in enumerate(lines) if line.startswith("worst: "))
    assert ".png, row " in lines[worst]
    assert "keras: box" in lines[worst + 1]
    assert "onnx: " in lines[worst + 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no picture to compare on"),
        (["--pictures", "nowhere"], "nowhere does not exist"),
        (["--pictures", "pictures"], "leaves nothing to compare"),
    ],
)
def test_verify_says_what_it_lacks(exported, monkeypatch, words, says):
    monkeypatch.chdir(exported)
    monkeypatch.setattr("edge.plugins.kinds", lambda folder: ["onnx"])
    done = verify("m.onnx", *words)
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


def test_an_engine_that_cannot_run_here_is_skipped_in_one_line(trained, exported, monkeypatch):
    monkeypatch.setattr("edge.plugins.kinds", lambda folder: ["absent", "onnx"])
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words)
    assert done.exit_code == 0, done.output
    assert [x for x in done.stdout.splitlines() if x.startswith("skipped absent: ")]


def test_each_engine_in_the_cache_is_compared_or_skipped_with_its_reason(
    trained, exported, monkeypatch, tmp_path, no_driver
):
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    cache, model = EngineCache(tmp_path), (exported / "m.onnx").read_bytes()
    rtx = EngineTarget("tensorrt_rtx", "1.7.1", "", ("sm86",))
    keys = [
        EngineKey.for_model(model, rtx, DEFAULT),
        EngineKey.for_model(model, rtx, BuildOptions(sweeps=0)),  # prints like the first
        EngineKey.for_model(
            model, dataclasses.replace(rtx, capabilities=("sm89", "sm120")), DEFAULT
        ),
    ]
    for key in keys:
        cache.store(key, "m", b"engine", 1.0, 1.0)
    another = dataclasses.replace(keys[0], model="0" * 64)
    cache.store(another, "another", b"engine", 1.0, 1.0)
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words, "--json")
    assert done.exit_code == 0, done.output
    skipped = {k: v for k, v in json.loads(done.stdout)["skipped"].items() if "tensorrt" in k}
    assert sorted(skipped) == sorted(f"{key} {key.id[:8]}" for key in keys)
    assert all("no NVIDIA driver answers" in why for why in skipped.values())


def test_a_foreign_model_is_refused(exported, tmp_path):
    proto = onnx.load(exported / "m.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "foreign.onnx")
    done = verify(tmp_path / "foreign.onnx", "--pictures", exported / "pictures")
    assert done.exit_code == ConfigError.exit_code
    assert "carries no edge.manifest" in done.output


def test_a_run_with_the_same_classes_and_other_weights_is_named(trained, exported, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained.path, other)
    network = RunFolder.open(other).load()
    network.set_weights([weight[::-1] for weight in network.get_weights()])
    RunFolder.open(other).save(network)
    pictures = ("--pictures", exported / "pictures")
    done = verify(exported / "m.onnx", "--run", other, *pictures)
    assert done.exit_code == ConfigError.exit_code, done.output
    assert f"--run {other}: its weights are not those that the model was exported" in done.stderr


def test_a_run_with_other_classes_is_named(trained, exported, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained.path, other)
    config = RunFolder.open(other).read("config.json")
    config["network"]["classes"] = [f"other {n}" for n in config["network"]["classes"]]
    RunFolder.open(other).write("config.json", config)
    done = verify(exported / "m.onnx", "--run", other, "--pictures", exported / "pictures")
    assert done.exit_code == ConfigError.exit_code, done.output
    assert "knows other " in done.stderr
    assert "name the run that it was exported from" in done.stderr


# --- models that give one answer a picture ----------------------------------------------------


def run_of(folder, task, config, network):
    config = {"task": task, "network": config.to_json(), "data": {}}
    run = RunFolder.begin(folder / task, config, {}, resume=False)
    run.write("metrics.json", {})
    network.save(run.best)
    return run


def exported_from(run):
    done = CliRunner().invoke(app, ["export", str(run.path), "--name", "m"])
    assert done.exit_code == 0, done.output
    return run.path / "m.onnx"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    config = encoder.EncoderConfig(
        dimension=16, stem=8, widths=(8, 8, 8), depths=(1, 1, 1), inner=(8, 8, 8),
        down=(8, 8, 8), last=16,
    )  # fmt: skip
    keras.utils.set_random_seed(3)
    network = encoder.build(config)
    rng = np.random.default_rng(3)
    for layer in network.layers:  # or it describes everything alike
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.1, 1, w.shape) for w in layer.get_weights()])
    return run_of(tmp_path_factory.mktemp("encoders"), "embed", config, network)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    config = fasnet.LivenessConfig((2.7,), frames=3, over_time="conv1d", branches=("squeeze",))
    network = lively(fasnet.build(config))
    return run_of(tmp_path_factory.mktemp("clips"), "liveness", config, network)


@pytest.mark.parametrize("task", ["embed", "liveness"])
def test_an_exported_model_answers_what_its_network_answers(task, encoders, clips, exported):
    run = {"embed": encoders, "liveness": clips}[task]
    words = ("--run", run.path, "--pictures", exported / "pictures")
    done = verify(exported_from(run), *words, "--json")
    assert done.exit_code == 0, done.output
    result = next(x for x in json.loads(done.stdout)["engines"] if x["engine"] == "onnx")
    assert (result["pictures"], result["differ"], result["worst"]) == (5, 0, None)


@pytest.mark.parametrize("task", ["embed", "liveness"])
def test_a_model_that_answers_something_else_fails(task, encoders, clips, exported, tmp_path):
    run = {"embed": encoders, "liveness": clips}[task]
    proto = onnx.load(exported_from(run))
    for weight in proto.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32 and array.ndim == 4:
            weight.CopyFrom(numpy_helper.from_array(array[::-1].copy(), weight.name))
    onnx.save(proto, tmp_path / "turned.onnx")
    words = ("--run", run.path, "--pictures", exported / "pictures")
    done = verify(tmp_path / "turned.onnx", *words)
    assert done.exit_code == 1, done.output
    assert "worst: " in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [("detect-nano", "was trained for liveness"), ("liveness-nano", "(3, 80, 80, 3)")],
)
def test_a_run_of_another_model_is_refused(clips, exported, name, says):
    words = ("--run", clips.path, "--pictures", exported / "pictures")
    done = verify(f"zoo:{name}", *words)
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


@pytest.mark.parametrize("name", ["detect-nano", "embed-nano", "liveness-nano"])
def test_a_model_of_the_zoo_answers_the_same_on_a_triton_server(name, exported):
    model = resolve_model(f"zoo:{name}", Path()).read_bytes()
    with serving(Service({name: model})) as port:
        words = ("--triton", f"127.0.0.1:{port}", "--pictures", exported / "pictures")
        done = verify(f"zoo:{name}", *words, "--json")
    assert done.exit_code == 0, done.output
    result = next(x for x in json.loads(done.stdout)["engines"] if x["engine"] == "triton")
    assert (result["pictures"], result["differ"]) == (5, 0)


def test_a_server_that_was_named_and_has_another_model_is_an_error(trained, exported):
    other = resolve_model("zoo:detect-nano", Path()).read_bytes()
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    with serving(Service({"my-run": other})) as port:
        done = verify(*words, "--triton", f"127.0.0.1:{port}")
    assert done.exit_code == ModelError.exit_code
    assert "sha256" in done.output
