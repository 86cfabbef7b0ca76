"""Mistakes on the command line are told before the libraries for training are loaded."""

import pytest
from typer.testing import CliRunner

from trainers.commands import benchmark, explain, restyle, train
from trainers.commands.app import app


@pytest.mark.parametrize("command", ["detector", "faces", "embedder", "liveness"])
def test_data_that_do_not_exist_are_told_before_keras_is_loaded(command, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_keras", lambda: pytest.fail("Keras was loaded"))
    nowhere = [tmp_path / "a", tmp_path / "b"][: 1 if command == "embedder" else 2]
    words = [command, *map(str, nowhere), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 78
    assert all(f"{path}: does not exist: check the path" in result.stderr for path in nowhere)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("detector", "--size", "100"), "multiples of 32"),
        (("detector", "--backbone", "vgg19"), "--backbone must be nano"),
        (("faces", "--size", "100"), "multiples of 32"),
    ],
)
def test_a_network_that_cannot_be_is_one_line(words, says, tmp_path):
    command, *options = words
    arguments = [command, str(tmp_path), *options, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 78, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output


TRAINERS = ["detector", "classifier", "faces", "embedder", "landmarks", "liveness"]


def refuse(words, monkeypatch):
    """What a command says, which must not come to load Keras."""
    for module in (train, explain, restyle, benchmark):
        monkeypatch.setattr(module, "load_keras", lambda: pytest.fail("Keras was loaded"))
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 78, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize("command", TRAINERS)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--out", "{file}"), "--out: this is a file: name a folder"),
        (("--out", "{file}/run"), "--out cannot be written"),
        (("--out", "{data}"), "--out is the input itself"),
        (("--out", "{run}"), "This folder holds a run: continue it with --resume"),
        (("--out", "{new}", "--resume"), "This folder holds no run"),
        (("--out", "{new}", "--batch", "0"), "batch must be positive, got 0"),
        (("--out", "{new}", "--epochs", "-1"), "epochs must not be negative, got -1"),
        (("--out", "{new}", "--lr", "nan"), "learning_rate must be positive, got nan"),
        (("--out", "{new}", "--seed", "-1"), "seed must not be negative, got -1"),
        (("--out", "{new}", "--val-fraction", "nan"), "--val-fraction must be in [0, 1), got nan"),
        (("--out", "{new}", "--val-fraction", "1"), "--val-fraction must be in [0, 1), got 1"),
    ],
)
def test_options_that_cannot_be_are_told_before_keras_is_loaded(
    command, options, says, tmp_path, monkeypatch
):
    places = {name: tmp_path / name for name in ("file", "data", "run", "new")}
    places["file"].touch()
    places["data"].mkdir()
    (places["run"]).mkdir()
    for name in ("config.json", "best.keras"):
        (places["run"] / name).write_text("{}")
    filled = [option.format(**places) for option in options]
    assert says in refuse([command, places["data"], *filled], monkeypatch)
    assert not places["new"].exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("classifier", "--start", "zoo:nothing"), "the zoo has no model"),
        (("landmarks", "--input-size", "100"), "multiples of 32"),
        (("detector", "--head", "x"), "--head must be free or anchor"),
        (("detector", "--assignment", "x"), "--assignment must be dynamic or grid"),
        (("detector", "--backbone", "x"), "--backbone must be nano"),
        (("detector", "--input-size", "100"), "multiples of 32"),
        (("detector", "--strength", "-1"), "strength must be in [0, 1], got -1.0"),
        (("detector", "--cache", "{file}"), "--cache: this is a file"),
        (("detector", "--unlabeled", "x"), "--unlabeled needs a --teacher"),
        (("classifier", "--backbone", "x"), "--backbone must be nano"),
        (("classifier", "--dropout", "1"), "dropout must be in [0, 1)"),
        (("classifier", "--strength", "nan"), "strength must be in [0, 1], got nan"),
        (("faces", "--backbone", "vgg16"), "--backbone must be yunet or slim"),
        (("faces", "--input-size", "100"), "multiples of 32"),
        (("embedder", "--encoder", "x"), "--encoder must be pico"),
        (("liveness", "--over-time", "x"), "over_time must be none, conv1d or conv3d"),
        (("liveness", "--strength", "2"), "strength must be in [0, 1], got 2.0"),
        (("bench", "--backbone", "x"), "--backbone must be nano"),
        (("bench", "--batch", "0"), "batch must be positive"),
        (("bench", "--input-size", "100"), "multiples of 32"),
        (("summary",), "holds no run"),
        (("explain", "--data", "{data}"), "holds no run"),
        (("restyle", "--style", "{data}", "--out", "{file}/new"), "--out cannot be written"),
    ],
)
def test_choices_of_one_command_are_checked_before_keras_is_loaded(
    words, says, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    command, *options = (
        word.format(file=tmp_path / "file", data=tmp_path / "data") for word in words
    )
    out = ["--out", tmp_path / "new"] if command in TRAINERS else []
    assert says in refuse([command, tmp_path / "data", *options, *out], monkeypatch)


def test_the_backbones_of_faces_are_named_twice_and_alike():
    from trainers.faces import NETWORKS

    assert tuple(NETWORKS) == train.FACE_BACKBONES
