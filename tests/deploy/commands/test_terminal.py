"""What the commands say on the terminal."""

import pytest
from typer.testing import CliRunner

from deploy.commands.app import app
from edge.errors import ConfigError


@pytest.mark.parametrize(
    "words",
    [["adopt", "--family", "yolox"], ["quantize", "--fp16", "--data", "."],
     ["triton", "--out", "."], ["verify", "--pictures", "picture.png"]],
    ids=lambda words: words[0],
)  # fmt: skip
@pytest.mark.parametrize("file", ["nowhere.onnx", "text.onnx"])
def test_a_message_names_the_file_once(words, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("Once upon a time")
    (tmp_path / "picture.png").touch()
    done = CliRunner().invoke(app, [words[0], file, *words[1:]])
    assert done.exit_code == ConfigError.exit_code
    assert done.output.count(file) == 1
