"""Installed distributions of OpenCV."""

import pytest

from edge.cli.check import _check_opencv
from edge.opencv import list_wheels


def install(folder, name, record="cv2/__init__.py,,\n", top_level=None):
    info = folder / f"{name.replace('-', '_')}-4.11.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.11.0\n")
    (info / "RECORD").write_text(record)
    if record:  # newer Pythons list only files that exist
        file = folder / record.partition(",")[0]
        file.parent.mkdir(exist_ok=True)
        file.touch()
    if top_level is not None:
        (info / "top_level.txt").write_text(top_level)


def test_each_wheel_that_brings_cv2_is_listed(tmp_path):
    assert list_wheels(tmp_path) == []
    install(tmp_path, "opencv-python-headless")
    install(tmp_path, "opencv-contrib-python", record="", top_level="cv2\n")
    install(tmp_path, "opencv-helpers", record="helpers/__init__.py,,\n")
    install(tmp_path, "numpy", record="numpy/__init__.py,,\n")
    assert list_wheels(tmp_path) == ["opencv-contrib-python", "opencv-python-headless"]


def test_this_environment_has_one():
    assert len(list_wheels()) <= 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"Name\n\n"])
def test_a_broken_distribution_is_passed_over(tmp_path, content):
    install(tmp_path, "opencv-python")
    (tmp_path / "opencv_python-4.11.0.dist-info/METADATA").write_bytes(content)
    assert list_wheels(tmp_path) == []


def test_check_warns_of_two_and_goes_on():
    assert not list(_check_opencv(["opencv-python-headless"]))
    (finding,) = _check_opencv(["opencv-python", "opencv-python-headless"])
    assert finding.ok
    assert finding.detail.startswith("warning: opencv-python and opencv-python-headless overwrite")
    assert "pip uninstall opencv-python opencv-python-headless" in finding.detail
