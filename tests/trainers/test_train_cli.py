"""`edge-train`: what a wrong command says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from trainers.cli import app


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["detector", "{here}/none", "--out", "{here}/r"], "is no data set"),
        (["detector", "{here}/none", "--out", "{here}/r", "--head", "x"], "free or anchor"),
        (["detector", "{here}/none", "--out", "{here}/r", "--start", "zoo:nothing"], "zoo"),
        (["faces", "{here}/none", "--out", "{here}/r", "--backbone", "vgg16"], "yunet, slim"),
        (["check", "{here}/none"], "is no data set"),
    ],
)
def test_a_wrong_command_ends_with_a_message_and_code_78(tmp_path, words, says):
    (tmp_path / "none").mkdir()
    done = CliRunner().invoke(app, [w.format(here=tmp_path) for w in words])
    assert done.exit_code == 78
    assert says in done.output
    assert "Traceback" not in done.output


def test_help_names_the_commands():
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(command in output for command in ("detector", "faces", "check"))
