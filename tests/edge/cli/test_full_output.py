"""Output that cannot be written, and paths that are no files: one line, and nothing hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli import app


def edge(*arguments, **options):
    command = [sys.executable, "-m", "edge", *map(str, arguments)]
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("models", "list"), ("doctor", "--json"), ("doctor",)])
def test_a_full_output_is_told_in_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = edge(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr.endswith("the output cannot be written: No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_a_pipe_is_no_picture_to_wait_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = edge("detect", tmp_path / "pipe", stdout=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "pipe: this is no regular file" in done.stderr


def test_what_is_no_folder_cannot_be_drawn_into(tmp_path, shared_data):
    (tmp_path / "file").write_text("x")
    picture = shared_data / "liveness" / "image_T1.jpg"
    result = CliRunner().invoke(app, ["detect", str(picture), "--draw", str(tmp_path / "file")])
    assert result.exit_code == 78
    assert "give --draw a folder" in result.output
    assert (tmp_path / "file").read_text() == "x"


def test_a_sink_that_cannot_be_opened_is_a_finding_among_others(tmp_path):
    (tmp_path / "edge.toml").write_text(
        "[models]\ndetector = 'zoo:detect-nano'\n"
        "[[cameras]]\nname = 'a'\nsource = { kind = 'synthetic' }\n"
        f"[[sinks]]\nkind = 'jsonl'\npath = '{tmp_path}/missing/a.jsonl'\n"
        "[http]\nport = 0\n"
    )
    result = CliRunner().invoke(app, ["check", str(tmp_path / "edge.toml"), "--json"])
    assert result.exit_code == 78
    lines = result.stdout.splitlines()
    assert any('"part": "sinks[0]", "ok": false' in line for line in lines)
    assert any('"part": "cameras.a", "ok": true' in line for line in lines)
    assert "free space" not in result.stdout


def test_a_demo_lasts_no_negative_time():
    assert CliRunner().invoke(app, ["demo", "--seconds", "-3"]).exit_code == 2
