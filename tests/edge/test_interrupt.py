"""Ctrl-C ends every command quietly with 130; 0 is for those that run until then."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge.cli.application import application

ROOT = Path(__file__).parents[2]
COMMANDS = {"edge": ["edge", "check"], "edge-train": ["trainers"], "edge-deploy": ["deploy"]}
# a library that makes its own error of an interrupt, as those in C do
INTERRUPTED_IMPORT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except KeyboardInterrupt:
    raise ImportError("a part failed to import")
"""


def run_with(library, folder, *arguments):
    """Run a module where importing ``library`` meets Ctrl-C."""
    (folder / f"{library}.py").write_text(INTERRUPTED_IMPORT)
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("library", ["cv2", "typer"])
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_a_command_imports_is_quiet(command, library, tmp_path):
    done = run_with(library, tmp_path, *COMMANDS[command], "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_keras_is_imported_is_quiet(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "images").mkdir()
    done = run_with(
        "keras", tmp_path, "trainers", "detector", str(tmp_path / "images"),
        "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "loading Keras\n")


def test_an_ignored_ctrl_c_stays_ignored():
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from edge.interrupt import exit_if_interrupted\n"
        "with exit_if_interrupted(): signal.raise_signal(signal.SIGINT)\n"
        "signal.raise_signal(signal.SIGINT); print('on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"on\n"


def test_ctrl_c_while_a_child_starts_reaches_the_parent_alone():
    program = (
        "import signal, subprocess, sys, time\n"
        "from edge.interrupt import held_interrupt\n"
        "try:\n"
        "    with held_interrupt():\n"
        "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "        time.sleep(0.3)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        child.send_signal(signal.SIGINT)\n"
        "        time.sleep(0.3)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', child.poll())\n"
        "    child.kill()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted None\n", "")


@pytest.mark.parametrize("nested", [False, True])
def test_ctrl_c_in_a_command_is_status_130(nested):
    inner = application("The inner commands.")
    outer = application("The outer commands.")
    outer.add_typer(inner, name="inner")

    @inner.command("wait")
    @outer.command("wait")
    def wait() -> None:
        raise KeyboardInterrupt

    @outer.command("other")
    def other() -> None:
        raise typer.Exit(0)

    done = CliRunner().invoke(outer, ["inner", "wait"] if nested else ["wait"])
    assert (done.exit_code, done.output) == (130, "")


def test_ctrl_c_at_a_benchmark_is_quiet_in_its_children_too():
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "bench", "--quick"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while "baseline and daemon" not in process.stderr.readline():
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline_s = time.monotonic() + 30
        while len(children.read_text().split()) < 2:  # the measurement and Python's tracker
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors.strip()) == (130, "")
