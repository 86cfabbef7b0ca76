"""Loading quietly: what native code writes meanwhile is told only when it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.keras_import import silent


def test_nothing_is_heard_even_of_native_code(capfd):
    with silent():
        os.write(2, b"a remark")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


@silent()
def fail():
    os.write(2, b"the reason")
    raise ImportError("no keras")


def test_everything_is_heard_when_it_fails(capfd):
    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "the reason"


def test_a_command_that_trains_says_nothing_of_its_backend(tmp_path):
    words = [
        sys.executable,
        "-c",
        "from trainers.commands.app import main; main()",
        "detector",
        "none",
    ]
    done = subprocess.run(
        [*words, "--out", str(tmp_path / "r")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("package", "run", "words", "says"),
    [
        ("onnx", "deploy.__main__", ["verify", "m.onnx"], "edge-deploy: onnx is not installed"),
        (
            "keras",
            "trainers.commands.app",
            ["detector", str(Path(__file__).parent), "--out", "never"],
            "keras is not installed",
        ),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_remedy(package, run, words, says):
    code = f"import sys; sys.modules['{package}'] = None; from {run} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode
    assert says in done.stderr
    assert f"in a clone of Edgewatch, {sys.executable} -m pip install '.[" in done.stderr
    assert "Traceback" not in done.stderr
