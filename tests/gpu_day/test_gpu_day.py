"""The script of a GPU day, run without a card, so that the run on one is not spent on slips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import ConfigError, EngineError, GpuLostError
from tests.gpu_day.__main__ import NEEDS
from tests.gpu_day.day import open_day
from tests.gpu_day.results import ABSENT, FAILED, MEASURED, Results

SCRIPT = Path(__file__).parents[1] / "gpu_day.sh"
DRIVER_ONLY = {  # what a fake card has not
    ("machine", "card, driver, memory"),
    ("decode", "1 x 1080p H.264 on NVDEC"),
    ("decode", "2 x 1080p H.264 on NVDEC"),
}


def run(out, *options, python=sys.executable, **variables):
    """Exit status, rows and table of a run."""
    environment = {**os.environ, "PYTHON": str(python), **variables}
    command = ["bash", str(SCRIPT), *options, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    rows = json.loads((out / "gpu_day.json").read_text())["rows"]
    return done.returncode, rows, (out / "gpu_day.md").read_text()


def interpreter(folder, body):
    """An executable that stands for Python; ``$3`` is the step, after -m and the module."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{body}\nexec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.slow
def test_every_step_measures_on_a_fake_card(tmp_path):
    status, rows, table = run(tmp_path, "--fake", "--quick")
    assert [row for row in rows if row["state"] == FAILED] == []
    assert {(r["step"], r["what"]) for r in rows if r["state"] == ABSENT} <= DRIVER_ONLY
    assert {row["step"] for row in rows if row["state"] == MEASURED} == set(NEEDS)
    assert json.loads((tmp_path / "gpu_day.json").read_text())["card"] == "fake"
    assert status == 3
    named = {row["what"] for row in rows}
    assert "detect-nano int8, tensorrt, batch 4" in named
    assert "detect-nano fp32, tensorrt, 2 cameras at 30 fps, share of raw" in named
    assert table.startswith("A fake card: its figures mean nothing.\n")
    assert table.count("\n| ") == 1 + len(rows)


def test_a_python_without_packages_gives_reasons_and_no_figures(tmp_path):
    status, rows, table = run(tmp_path, python=interpreter(tmp_path, ""))
    assert status == 3
    steps = {row["step"]: row for row in rows if row["what"] == "the step"}
    assert steps.keys() == NEEDS.keys()
    assert {row["state"] for row in steps.values()} == {ABSENT}
    assert steps["bare"]["reason"] == "this Python lacks numpy, onnxruntime"
    assert "| bare | the step | not measured: this Python lacks numpy, onnxruntime |" in table


def test_a_step_that_crashes_fails_and_the_others_go_on(tmp_path):
    python = interpreter(tmp_path, '[ "$3" = engines ] && kill -SEGV $$')
    status, rows, _ = run(tmp_path, python=python)
    assert status == 1
    (failed,) = [row for row in rows if row["state"] == FAILED]
    assert failed["step"] == "engines"
    assert failed["reason"].startswith("exit status 139")
    assert {row["step"] for row in rows} == set(NEEDS)


def test_a_step_that_hangs_is_cut_off_and_time_that_is_used_up_ends_the_run(tmp_path):
    python = interpreter(tmp_path, '[ "$3" = machine ] && exec sleep 60')
    status, rows, _ = run(tmp_path, python=python, GPU_DAY_S="2")
    assert status == 1
    first, *others = rows
    assert (first["state"], first["reason"][:9]) == (FAILED, "cut off a")
    assert {row["reason"] for row in others} == {"no time was left"}
    assert [row["step"] for row in rows] == list(NEEDS)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ConfigError("no driver"), ABSENT),
        (ImportError("no tensorrt"), ABSENT),
        (EngineError("cannot load its engine"), FAILED),
        (GpuLostError("an illegal address"), FAILED),
    ],
)
def test_what_is_missing_is_absent_and_what_breaks_has_failed(tmp_path, error, state):
    day = open_day("compare", tmp_path, tmp_path)
    with day.attempt("detect-nano fp32, tensorrt"):
        raise error
    (row,) = day.results.rows()
    assert (row.state, row.reason) == (state, str(error))


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ("", "something failed"),
        ("m", "everything was measured"),
        ("ma", "something was not measured"),
        ("mfa", "something failed"),
    ],
)
def test_the_verdict_tells_failures_from_absences(tmp_path, states, verdict):
    results = Results(tmp_path, "bare")
    for state in states:
        {
            "m": lambda: results.measured("x", 1.0, "s"),
            "a": lambda: results.absent("x", "no card"),
            "f": lambda: results.failed("x", "it crashed"),
        }[state]()
    assert results.verdict() == verdict
