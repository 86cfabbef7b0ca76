"""Python 3.10 to 3.13: the project names them everywhere, and its code needs no later one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from edge.compat import tomllib

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What pip installs with an extra; a module may be missing for one of these and no other reason.
OF_EXTRAS = {"cuda", "h5py", "jax", "keras", "matplotlib", "onnx", "pycocotools", "tensorflow"}

IMPORT_ALL = """
import importlib, pkgutil, sys
failed = []
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        failed.append(error.name.partition(".")[0])
print(*sorted(set(failed)))
"""


@pytest.mark.parametrize("package", ["edge", "trainers", "deploy"])
def test_every_module_imports(package):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= OF_EXTRAS


def test_the_code_uses_nothing_that_the_oldest_python_lacks():
    pytest.importorskip(
        "vermin",
        reason="vermin is not installed: no check that the code uses nothing newer than Python "
        f"{VERSIONS[0]}; make setup installs it",
    )
    # The methods excluded are those of another class than vermin takes them for.
    options = [f"--target={VERSIONS[0]}-", "--violations", "--no-tips", "--eval-annotations"]
    options += ["--exclude", "int.is_integer", "--exclude", "str.decode"]
    folders = ["edge", "trainers", "deploy", "tests", "examples", "docs"]
    command = [Path(sys.executable).with_name("vermin"), *options, *folders]  # no `-m vermin`
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_project_names_the_same_versions_everywhere():
    project, tools = PYPROJECT["project"], PYPROJECT["tool"]
    prefix = "Programming Language :: Python :: "
    named = [line.removeprefix(prefix) for line in project["classifiers"] if prefix in line]
    assert named == list(VERSIONS)
    assert SpecifierSet(project["requires-python"]) == SpecifierSet(f">={VERSIONS[0]}")
    assert tools["ruff"]["target-version"] == "py" + VERSIONS[0].replace(".", "")


@pytest.mark.parametrize("file", ["Makefile", ".github/workflows/ci.yml", "tests/pythons.sh"])
def test_every_version_is_tested(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert set(re.findall(r"3\.1\d\b", text)) >= set(VERSIONS)
