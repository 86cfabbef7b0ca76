"""A machine whose OpenCV is missing or broken: one message with the remedy, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.compat import tomllib

ROOT = Path(__file__).parents[3]
COMMANDS = {"edge": "edge", "edge-train": "trainers", "edge-deploy": "deploy"}
FIRST = {"edge": ("run",)}  # the list of commands of `edge` needs no OpenCV


def run_with(opencv, folder, module="edge", arguments=None):
    """Run a command where ``import cv2`` runs these lines."""
    (folder / "cv2.py").write_bytes(opencv)
    arguments = FIRST.get(module, ()) if arguments is None else arguments
    return subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_box_without_opencv_is_told_what_to_do(command, tmp_path):
    done = run_with(b"raise ImportError('there is none')", tmp_path, COMMANDS[command])
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{command}: OpenCV cannot be imported (there is none)")
    assert "pip install opencv-python-headless" in line


@pytest.mark.parametrize(
    ("opencv", "says"),
    [
        (b"", "__version__"),
        (b"def (:", "invalid syntax"),
        (b"x = 1\0", "null bytes"),
        (b"raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
        (b"raise RuntimeError('boom')", "boom"),
        (b"raise OSError('libGL.so.1: cannot open')", "libGL.so.1"),
        (b"raise MemoryError", "MemoryError"),
        (b"raise ImportError('one\\ntwo\\x1b]0;title\\x07')", r"one\ntwo\x1b]0;title\x07"),
    ],
)
def test_whatever_is_wrong_with_opencv_is_told_in_one_line(opencv, says, tmp_path):
    done = run_with(opencv, tmp_path)
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("edge: OpenCV cannot be imported (")
    assert says in line
    assert line.isprintable()


def test_an_opencv_that_ends_the_process_does_so(tmp_path):
    done = run_with(b"raise SystemExit(3)", tmp_path)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(
    "arguments", [("people", "list"), ("models", "list"), ("check",), ("bench",), ("detect",)]
)
def test_every_command_that_needs_opencv_says_so(arguments, tmp_path):
    done = run_with(b"raise ImportError('there is none')", tmp_path, arguments=arguments)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("edge: OpenCV cannot be imported (there is none)")


@pytest.mark.parametrize("arguments", [(), ("watch",), ("keys", "new")])
def test_what_needs_no_opencv_works_without_it(arguments, tmp_path):
    done = run_with(b"raise ImportError('there is none')", tmp_path, arguments=arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_commands_are_the_ones_that_say_so():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert scripts["scripts"] == {
        command: f"{module}.__main__:main" for command, module in COMMANDS.items()
    }
