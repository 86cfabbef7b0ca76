"""Commands that need no Keras do not load it: that takes seconds."""

import subprocess
import sys

import pytest

from deploy.commands import app

HEAVY = ("keras", "tensorflow", "matplotlib")


def loaded_by(module):
    script = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [app.__name__, "deploy.quantize.quantizer", "deploy.quantize.accuracy",
     "deploy.quantize.calibration_set", "deploy.verify.verify", "deploy.engine.build"],
)  # fmt: skip
def test_keras_is_loaded_for_runs_only(module):
    assert not loaded_by(module)
