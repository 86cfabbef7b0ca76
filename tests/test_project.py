"""The project's own papers: what they promise is there."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import edge

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ["runtime", "dev"]


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == edge.__version__


# --- locks ------------------------------------------------------------------------------------


def pinned(lock):
    """Name -> version."""
    text = (ROOT / ".ci" / f"{lock}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", text, re.MULTILINE))


def wanted(lock):
    extras = PROJECT["optional-dependencies"]
    chosen = ["demo"] if lock == "runtime" else [name for name in extras if name != "tensorrt"]
    lines = [*PROJECT["dependencies"], *(line for extra in chosen for line in extras[extra])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_covers_what_the_project_needs(lock):
    versions = {name: Version(version) for name, version in pinned(lock).items()}
    for requirement in wanted(lock):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not locked: run make lock"
        assert versions[name] in requirement.specifier, f"{name} is locked too old: run make lock"
    assert "setuptools" in versions, "the build backend is locked too"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_packages_and_hashes_and_nothing_else(lock):
    text = (ROOT / ".ci" / f"{lock}.lock").read_text(encoding="utf-8")
    for line in text.splitlines():
        pin = re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]* \\", line)
        digest = re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        assert pin or digest or not line or line.startswith("# The following packages"), line


def test_the_runtime_does_not_pull_the_trainer():
    assert not {"tensorflow", "keras", "pytest", "onnx"} & set(pinned("runtime"))


def test_both_locks_agree():
    small, large = pinned("runtime"), pinned("dev")
    assert {name: large.get(name) for name in small} == small


def test_one_place_catches_what_nobody_expected():
    broad = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("edge", "trainers", "deploy")
        for path in sorted((ROOT / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"except(:| Exception)", line)
    ]
    assert len(broad) == 1, broad
    assert broad[0].startswith("edge/errors.py")


@pytest.fixture
def clone(tmp_path):
    """What make needs; pip only says what it was asked for."""
    for name in ("Makefile", "pyproject.toml", ".ci"):
        (tmp_path / name).symlink_to(ROOT / name)

    def make(target):
        command = ["make", target, "PIP=echo pip"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    return tmp_path / ".venv", make


def test_an_environment_whose_installation_was_interrupted_is_made_anew(clone):
    environment, make = clone
    make("setup")
    assert not (environment / "installing").exists()
    (environment / "dev.stamp").unlink()
    (environment / "half-a-package").touch()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (environment / "installing").write_text(f"{ended.pid}\n")
    assert "was interrupted" in make("setup").stdout
    assert (environment / "dev.stamp").exists()
    assert not (environment / "half-a-package").exists()
    assert not (environment / "installing").exists()


def test_an_environment_that_somebody_is_installing_into_is_left_alone(clone):
    environment, make = clone
    environment.mkdir()
    (environment / "installing").write_text(f"{os.getpid()}\n")
    assert "was interrupted" not in make("setup").stdout
