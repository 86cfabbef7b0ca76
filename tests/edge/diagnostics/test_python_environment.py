"""Packages of this environment and of the Pythons outside: OpenCV and TensorRT."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge.diagnostics.host import Host
from edge.diagnostics.python_environment import PythonEnvironment

VENV = Path("/opt/edgewatch")
OWN = f"{VENV}/lib/python3.10/site-packages"
SYSTEM = "/usr/lib/python3.10/dist-packages"
WHEEL = ["4.11.0", ["V4L2"], f"{OWN}/cv2/__init__.py"]
# The oldest loaders of OpenCV leave the file of the library as the module's.
JETPACK = ["4.8.0", ["GSTREAMER", "V4L2"], f"{SYSTEM}/cv2/python-3.10/cv2.cpython-310.so"]
TENSORRT = ["10.3.0", f"{SYSTEM}/tensorrt/__init__.py"]


def look(root, own=(), outside=(), shown="", wheels=(), python="/usr/bin/python3"):
    """What a machine says whose Pythons import these modules: name and answer."""
    modules = {f"{VENV}/bin/python": dict(own), python: dict(outside)}

    def run(command):
        for name, answer in modules.get(command[0], {}).items():
            if f"import {name}\n" in command[-1] or f"import {name};" in command[-1]:
                return json.dumps(answer)
        module = re.search(r"\nimport (\w+)", command[-1])
        raise OSError(f"No module named '{module and module[1]}'")

    environment = PythonEnvironment(f"{VENV}/bin/python", VENV, (python,), shown)
    host = Host(root, "/var/lib/edge", run, python=environment, wheels=wheels)
    return {finding.part: finding for finding in host.check()}


def test_opencv_is_told_with_its_folder_and_without_gstreamer(tmp_path):
    opencv = look(tmp_path, {"cv2": WHEEL})["opencv"]
    assert opencv.ok
    assert opencv.detail == f"4.11.0: V4L2; without GStreamer; in {OWN} (this environment)"


def test_the_opencv_of_the_system_is_told_as_such(tmp_path):
    opencv = look(tmp_path, {"cv2": JETPACK}, shown="/usr/bin/python3")["opencv"]
    assert opencv.ok
    assert opencv.detail == f"4.8.0: GSTREAMER, V4L2; in {SYSTEM} (system)"


def test_two_wheels_of_opencv_are_a_finding(tmp_path):
    wheels = ["opencv-python", "opencv-python-headless"]
    opencv = look(tmp_path, {"cv2": WHEEL}, wheels=wheels)["opencv"]
    assert not opencv.ok
    assert "opencv-python and opencv-python-headless overwrite each other" in opencv.detail
    remedy = "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python"
    assert opencv.hint == f"{remedy}-headless"
    assert look(tmp_path, wheels=wheels)["opencv"].hint == opencv.hint  # removing one breaks both


def test_a_system_opencv_with_gstreamer_that_is_not_seen_is_a_finding(tmp_path):
    opencv = look(tmp_path, {"cv2": WHEEL}, {"cv2": JETPACK})["opencv"]
    assert not opencv.ok
    assert opencv.detail.endswith(f"the system's has it, in {SYSTEM}")
    assert opencv.hint == "for CSI cameras and other pipelines: make install OPENCV=system"


def test_a_wheel_that_hides_the_systems_opencv_is_to_be_removed(tmp_path):
    opencv = look(
        tmp_path,
        {"cv2": WHEEL},
        {"cv2": JETPACK},
        shown="/usr/bin/python3",
        wheels=["opencv-python-headless"],
    )["opencv"]
    assert not opencv.ok
    assert opencv.hint.endswith(f"{VENV}/bin/python -m pip uninstall opencv-python-headless")


def test_a_system_opencv_without_gstreamer_is_no_finding(tmp_path):
    assert look(tmp_path, {"cv2": WHEEL}, {"cv2": ["4.6.0", [], "/x/cv2.so"]})["opencv"].ok


def test_a_system_tensorrt_that_is_not_seen_is_a_finding(tmp_path):
    tensorrt = look(tmp_path, outside={"tensorrt": TENSORRT})["tensorrt"]
    assert not tensorrt.ok
    assert tensorrt.detail == f"none here; /usr/bin/python3 has tensorrt 10.3.0 in {SYSTEM}"
    assert tensorrt.hint == "make install OPENCV=system"


def test_another_python_is_named_in_the_remedy(tmp_path):
    python = "/usr/local/bin/python3.9"
    found = look(tmp_path, outside={"tensorrt": TENSORRT}, python=python)
    assert found["tensorrt"].hint == f"make install OPENCV=system PYTHON={python}"


def test_a_system_tensorrt_that_is_too_old_is_no_remedy(tmp_path):
    old = ["8.5.2", f"{SYSTEM}/tensorrt/__init__.py"]
    tensorrt = look(tmp_path, outside={"tensorrt": old})["tensorrt"]
    assert tensorrt.ok
    assert tensorrt.detail.endswith(", which is not supported")


def test_garbage_from_a_python_is_no_traceback(tmp_path):
    found = look(tmp_path, {"cv2": 1, "tensorrt": None}, {"cv2": [], "tensorrt": "?"})
    assert not found["opencv"].ok
    assert not found["tensorrt"].ok
    assert look(tmp_path, outside={"cv2": 3, "tensorrt": "?"})["tensorrt"].ok


@pytest.mark.parametrize("shows", [False, True])
def test_a_virtual_environment_knows_what_is_outside(tmp_path, shows):
    """A real one, asked by its own Python."""
    options = ["--without-pip", *(["--system-site-packages"] if shows else [])]
    subprocess.run([sys.executable, "-m", "venv", *options, tmp_path / "venv"], check=True)
    script = (
        "from edge.diagnostics.python_environment import PythonEnvironment as P; "
        "p = P.current(); print(p.prefix, p.outside[0] == p.shown, p.shown == '', len(p.outside))"
    )
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", script],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    prefix, is_shown, is_hidden, count = done.stdout.split()
    assert Path(prefix) == tmp_path / "venv"
    assert (is_shown, is_hidden) == (str(shows), str(not shows))
    assert int(count) in {1, 2}
