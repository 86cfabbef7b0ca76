"""Mistakes on the command line are told before the libraries for training are loaded."""

import pytest
from typer.testing import CliRunner

from trainers.commands import train
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
