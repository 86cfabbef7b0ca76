"""ONNX Runtime's telemetry is off in every program, whoever imports it first."""

import os
import subprocess
import sys

import pytest

from edge.cli.models import _DEPLOY

WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, *rest):
        if name == "onnxruntime":
            print("ORT_DISABLE_TELEMETRY =", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
"""
EDGE = "from edge.__main__ import main; main()"
DEPLOY = "from deploy.__main__ import main; main()"


def run(code, *words, **variables):
    environ = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    return subprocess.run(
        [sys.executable, "-c", WATCH + code, *words],
        env={**environ, **variables}, capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (EDGE, ["models", "list"]),
        (DEPLOY, ["engines", "list"]),
        (_DEPLOY, ["adopt", "--help"]),  # what `edge models pull` adopts with
        ("import deploy.graph.session", []),
        ("import deploy.graph.trunk", []),
        ("import edge.runtimes.onnx", []),
        ("import trainers, onnxruntime", []),
    ],
)
def test_telemetry_is_off_before_onnx_runtime_is_imported(code, words, tmp_path):
    said = run(code, *words, XDG_CACHE_HOME=str(tmp_path))
    assert said.count("ORT_DISABLE_TELEMETRY") == 1
    assert "ORT_DISABLE_TELEMETRY = 1\n" in said


def test_who_has_set_the_variable_is_heeded():
    said = run("import deploy.graph.session", ORT_DISABLE_TELEMETRY="0")
    assert said == "ORT_DISABLE_TELEMETRY = 0\n"
