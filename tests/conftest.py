"""What the tests share: the real data beside the repository, and models adopted from it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deploy.adopt.adopt import Adoption

# Several tests run at once, each on one processor. The libraries read this when they are imported,
# so this file imports none of them at its top.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path_factory, monkeypatch):
    """What is remembered of galleries must not come into the developer's home, or another test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def no_driver():
    """For what is only so on a machine without an NVIDIA driver."""
    from edge.engines.cuda import open_cuda
    from edge.errors import ConfigError

    try:
        open_cuda()
    except ConfigError:
        return
    pytest.skip("this machine has an NVIDIA driver")


@pytest.fixture
def default_ports():
    """For what listens where a daemon does by default: one test at a time on this machine."""
    with (Path(tempfile.gettempdir()) / "edgewatch-tests-default-ports").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures, videos and foreign models."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data: ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def adopt_file(shared_data, tmp_path_factory):
    """Adopt a file of ../shared/data/models; the path of the contract model."""
    from deploy.adopt.adopt import adopt

    folder = tmp_path_factory.mktemp("adopted")

    def make(file: str, options: Adoption) -> Path:
        key = hashlib.sha256(f"{file} {options}".encode()).hexdigest()[:12]
        path = folder / key / f"{options.name}.onnx"
        if not path.exists():
            path.parent.mkdir()
            path.write_bytes(adopt((shared_data / "models" / file).read_bytes(), options))
        return path

    return make


@pytest.fixture(scope="session")
def adopted_yolox(adopt_file) -> Path:
    """YOLOX-nano, 80 classes, 416x416."""
    from deploy.adopt.adopt import Adoption
    from trainers.data.coco import COCO

    return adopt_file("yolox_nano.onnx", Adoption("yolox", "yolox-nano", COCO))


@pytest.fixture(scope="session")
def adopted_yunet(adopt_file) -> Path:
    """YuNet at 320x320."""
    from deploy.adopt.adopt import Adoption
    from deploy.graph.nms import Nms

    nms = Nms(score_threshold=0.5, iou_threshold=0.3, max_rows=50, candidates=128)
    options = Adoption("yunet", "yunet", ("face",), input_wh=(320, 320), nms=nms)
    return adopt_file("yunet_n_dynamic.onnx", options)
