"""Applications: an error names the command that was typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("main", "arguments", "prefix"),
    [
        ("edge", ["people", "list", "--gallery", "none.db"], "edge people: "),
        ("edge", ["check", "none.toml"], "edge: "),
        ("deploy", ["engines", "trust", "none.engine"], "edge-deploy engines: "),
    ],
)
def test_an_error_begins_with_the_command_that_was_typed(main, arguments, prefix, tmp_path):
    program = f"import sys; from {main}.__main__ import main; main()"
    script = tmp_path / {"edge": "edge", "deploy": "edge-deploy"}[main]
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, 2), done.stderr
    assert done.stderr.startswith(prefix), done.stderr


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        ("edge", []),
        ("edge", ["enroll"]),
        ("edge", ["watch"]),
        ("edge", ["people", "verify"]),
        ("trainers", ["detector"]),
        ("deploy", ["adopt"]),
        ("deploy", ["engines", "trust"]),
    ],
)
def test_help_names_values_as_a_person_would(main, arguments):
    done = subprocess.run(
        [sys.executable, "-m", main, *arguments, "--help"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ("<bool>", "<str>", "<int>", "<path>", "list[", "<float>"):
        assert word not in done.stdout
