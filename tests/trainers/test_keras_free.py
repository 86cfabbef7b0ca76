"""What needs no Keras loads none: importing a backend takes seconds and an extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

PROBE = """
import contextlib, sys
{code}
heavy = {{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules)
assert not heavy, heavy
"""
COMMAND = """
from trainers.commands.app import app
try:
    app({words})
except SystemExit as end:
    assert end.code in (0, {code}), end.code
"""


def probe(code: str) -> str:
    """Run code in a process of its own, which must not load a backend; its output."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, text=True,
        cwd=Path(__file__).parents[2], timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["augment", "commands", "data", "metrics", "spoofing"])
def test_packages_load_no_backend(package):
    files = sorted((Path(__file__).parents[2] / "trainers" / package).glob("*.py"))
    names = [f"trainers.{package}.{file.stem}" for file in files if file.stem != "__init__"]
    assert names
    probe(f"import {', '.join(names)}")


def test_modules_load_no_backend():
    probe(
        "import trainers.networks.config, trainers.pseudo_labels, trainers.evaluation.detector, "
        "trainers.evaluation.embedder, trainers.evaluation.liveness, "
        "trainers.input.pipeline, trainers.run.folder, trainers.run.settings, "
        "trainers.restyle.folder, trainers.restyle.look"
    )


def run(*words: object, code: int = 0) -> str:
    return probe(COMMAND.format(words=[str(word) for word in words], code=code))


@pytest.fixture
def data(tmp_path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "data" / "images" / "a.png"), noise)
    (tmp_path / "data" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data" / "classes.txt").write_text("face\n")
    return tmp_path / "data"


def test_check_loads_no_backend(data, tmp_path):
    assert "1 object," in run("check", data, "--sheet", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["label", "{data}", "--teacher", "{data}/classes.txt", "--out", "{data}/new"],
        ["verification", "{data}/classes.txt", "--data", "{data}"],
        ["evaluate", "{data}/classes.txt", "--data", "{data}"],
        ["evaluate", "{data}/classes.txt", "--data", "{data}", "--faces"],
        ["attacks", "{data}/classes.txt", "--data", "{data}"],
    ],
)
def test_commands_that_evaluate_or_label_load_no_backend(data, words):
    run(*(word.format(data=data) for word in words), code=78)


@pytest.mark.parametrize(
    "words",
    [["detector", "--hold", "0.5"], ["embedder", "--size=pico"], ["attacks", "--each", "2"]],
)
def test_options_of_old_names_are_read_with_a_warning(words):
    from typer.testing import CliRunner

    from trainers.commands.app import app

    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.count("is deprecated, use --") == 1
    assert "No such option" not in result.output
