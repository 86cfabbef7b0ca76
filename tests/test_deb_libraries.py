"""The check of a package's libraries: it sees another machine, and what no package has."""

import importlib.util
import platform
import shutil
from pathlib import Path

import pytest

from tests import deb_libraries

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
OTHER = {"amd64": "arm64", "arm64": "amd64"}.get(HERE)
DEPENDS = "python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2.28), libstdc++6"
pytestmark = pytest.mark.skipif(HERE is None, reason="a machine that no package is for")


@pytest.fixture
def folder(tmp_path):
    """A library of a wheel, in a folder as it is in a package."""
    (source,) = Path(importlib.util.find_spec("onnxruntime").origin).parent.glob(
        "capi/onnxruntime_pybind11_state*.so"
    )
    (tmp_path / "capi").mkdir()
    shutil.copy(source, tmp_path / "capi")
    (tmp_path / "capi" / "text.so").write_text("no library")
    return tmp_path


def test_a_library_of_a_wheel_fits_its_machine(folder):
    assert deb_libraries.list_problems(folder, HERE, DEPENDS) == []


def test_a_library_for_another_machine_is_reported(folder):
    (problem,) = deb_libraries.list_problems(folder, OTHER, DEPENDS)
    assert f"is not for {OTHER}" in problem


def test_a_library_that_no_package_has_is_reported(folder):
    without = DEPENDS.removesuffix(", libstdc++6")
    problems = deb_libraries.list_problems(folder, HERE, without)
    assert any("needs libstdc++.so.6, of no package in Depends" in problem for problem in problems)


def test_a_library_in_the_package_serves_the_others(folder):
    (library,) = folder.rglob("*pybind*.so")
    shutil.copy(library, folder / "libstdc++.so.6")
    without = DEPENDS.removesuffix(", libstdc++6")
    problems = deb_libraries.list_problems(folder, HERE, without)
    assert not any("libstdc++.so.6" in problem.partition("needs")[2] for problem in problems)


def test_an_executable_without_a_suffix_counts(folder):
    (library,) = folder.rglob("*pybind*.so")
    library.rename(folder / "program")
    (problem,) = deb_libraries.list_problems(folder, OTHER, DEPENDS)
    assert problem.startswith(str(folder / "program"))


def test_a_package_without_libraries_is_reported(tmp_path):
    assert deb_libraries.list_problems(tmp_path, HERE, DEPENDS) == [f"{tmp_path} has no libraries"]


def test_a_library_of_32_bits_is_refused(folder):
    (library,) = folder.rglob("*pybind*.so")
    library.write_bytes(b"\x7fELF\x01\x01" + bytes(100))
    with pytest.raises(ValueError, match="expected 64 bits"):
        deb_libraries.list_problems(folder, HERE, DEPENDS)
