"""The project's own papers: what they promise is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import edge
from edge.compat import tomllib
from edge.engines.library import is_supported

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ["runtime", "system-opencv", "test", "dev"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
MACHINES = ["x86_64", "aarch64"]


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == edge.__version__


@pytest.mark.parametrize("version", ["9.3", "10.2", "10.3", "10.16", "11.4", "12.0"])
def test_the_extra_brings_the_versions_of_tensorrt_that_are_supported(version):
    requirements = map(Requirement, PROJECT["optional-dependencies"]["tensorrt"])
    (wanted,) = [r.specifier for r in requirements if r.name == "tensorrt"]
    assert wanted.contains(version) == is_supported("tensorrt", version)


# --- locks ------------------------------------------------------------------------------------


def read(lock):
    return (ROOT / ".ci" / f"{lock}.lock").read_text(encoding="utf-8")


def pinned(lock, python="3.11", machine="x86_64"):
    """Name -> version of what is installed by that Python on that machine."""
    lines = re.findall(r"^([a-z0-9].*?) \\$", read(lock), re.MULTILINE)
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pins = [Requirement(line) for line in lines]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    names = [pin.name for pin in here]
    assert len(set(names)) == len(names), "one version of each"
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in here}


def wanted(lock, python):
    extras = PROJECT["optional-dependencies"]
    chosen = {
        "runtime": ["demo", "triton"],
        "test": ["demo", "triton", "deploy", "test"],
        "dev": [name for name in extras if name != "tensorrt"],  # needs NVIDIA's driver to install
    }[lock]
    lines = [*PROJECT["dependencies"], *(line for extra in chosen for line in extras[extra])]
    requirements = [Requirement(line) for line in lines]
    environment = {"python_version": python, "platform_machine": "x86_64"}
    return [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["runtime", "test", "dev"])
def test_a_lock_covers_what_the_project_needs(lock, python):
    versions = {name: Version(version) for name, version in pinned(lock, python).items()}
    for requirement in wanted(lock, python):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not locked: run make lock"
        assert versions[name] in requirement.specifier, f"{name} is locked too old: run make lock"
    assert "setuptools" in versions, "the build backend is locked too"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_packages_and_hashes_and_nothing_else(lock):
    for line in read(lock).splitlines():
        pin = re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]*( ; [^/@]+)? \\", line)
        digest = re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        assert pin or digest, line


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_locks_agree(python, machine):
    of = {lock: pinned(lock, python, machine) for lock in LOCKS}
    assert of["runtime"].items() <= of["test"].items()
    assert of["test"].items() <= of["dev"].items()
    differing = {name for name, _ in of["runtime"].items() ^ of["system-opencv"].items()}
    assert differing <= {"opencv-python-headless", "numpy"}
    assert "opencv-python-headless" not in of["system-opencv"]


def test_the_build_backend_is_locked_as_it_is_required():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert document["dependency-groups"]["build"] == document["build-system"]["requires"]


def test_the_runtime_does_not_pull_the_trainer():
    assert not {"tensorflow", "keras", "pytest", "onnx"} & set(pinned("runtime"))


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


@pytest.mark.parametrize("opencv", ["System", "wheels", "wheel system", "%", ""])
def test_make_refuses_a_way_to_install_opencv_that_it_does_not_know(opencv):
    command = ["make", "--no-print-directory", "--dry-run", "install", f"OPENCV={opencv}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"OPENCV={opencv} is not known: expected wheel or system" in line
    assert not done.stdout


@pytest.fixture
def install(tmp_path):
    """Make install below a folder where Edgewatch is installed; arguments and variables of make."""
    installed = tmp_path / "opt" / "edgewatch"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin" / "edge").write_text("the one that runs")

    def make(**variables):
        options = {"DESTDIR": tmp_path, "PYTHON": sys.executable, **variables}
        words = [f"{name}={value}" for name, value in options.items()]
        return subprocess.run(
            ["make", "--no-print-directory", "install", *words],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return installed, make


def test_an_installation_stays_where_the_new_one_cannot_be_fetched(install):
    installed, make = install
    done = make(INSTALL="@echo the index cannot be reached >&2; false")
    assert done.returncode == 2
    assert "the index cannot be reached" in done.stderr
    assert (installed / "bin" / "edge").read_text() == "the one that runs"


def test_a_new_installation_takes_the_place_of_the_old_one_and_names_it_alone(install):
    installed, make = install
    done = make(INSTALL="@true", FOREIGN="yes")  # nothing of it can be run
    assert done.returncode == 0, done.stderr
    assert not (installed / "bin" / "edge").exists()
    assert [path.name for path in installed.parent.iterdir()] == ["edgewatch"]
    activate = (installed / "bin" / "activate").read_text(encoding="utf-8")
    assert re.search(r"VIRTUAL_ENV=\W?/opt/edgewatch\W?$", activate, re.MULTILINE)
    texts = [
        installed / "pyvenv.cfg",
        *installed.glob("bin/activate*"),
        *installed.glob("bin/pip*"),
    ]
    for text in texts:
        assert "edgewatch.new" not in text.read_text(encoding="utf-8"), text
        assert str(installed) not in text.read_text(encoding="utf-8"), text
    prefix = installed.parents[1] / "usr" / "local"
    for name in ("edge", "edge-deploy"):
        assert (prefix / "bin" / name).readlink() == Path("/opt/edgewatch/bin", name)
    assert (prefix / "lib" / "systemd" / "system" / "edge@.service").is_file()


def test_a_box_without_the_system_opencv_is_told_before_anything_is_changed(install, tmp_path):
    installed, make = install
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')  # no packages
    python.chmod(0o755)
    done = make(PYTHON=python, OPENCV="system", INSTALL="@true")
    assert done.returncode == 2
    assert f"{python} has no OpenCV: sudo apt install python3-opencv, or use" in done.stderr
    assert (installed / "bin" / "edge").read_text() == "the one that runs"
    assert {path.name for path in tmp_path.iterdir()} == {"opt", "python"}
