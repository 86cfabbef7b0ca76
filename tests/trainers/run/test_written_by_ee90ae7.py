"""A run folder that commit ee90ae7 wrote loads, resumes and is exported as it was.

Resuming checks ``data_sha256``, the order of a network's variables and the split of the data;
loading checks the names under which layers are registered. See golden/ee90ae7/README.md.
"""

import json
import tarfile
from pathlib import Path
from zipfile import ZipFile

import keras
import numpy as np
import pytest
from packaging.version import Version

from edge.errors import ModelError
from trainers.detector import DetectorJob, train_detector
from trainers.networks.config import NetworkConfig
from trainers.run.curves import read_log
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

WRITTEN = Path(__file__).parents[2] / "golden" / "ee90ae7"
OLDER = Version(keras.__version__) < Version("3.15")
pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")  # see eagerly


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunFolder:
    with tarfile.open(WRITTEN / "run.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # config.json names "data"
    return RunFolder.open(Path("run"))


def test_a_network_of_a_newer_keras_is_refused_with_a_message(run):
    (path,) = run.path.glob("**/*.keras")
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    network = json.loads(parts["config.json"])
    layer = next(one for one in network["config"]["layers"] if one["class_name"] == "Conv2D")
    layer["config"]["of_a_newer_keras"] = True
    with ZipFile(path, "w") as archive:
        for name, content in (parts | {"config.json": json.dumps(network)}).items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match="cannot be read as a Keras model"):
        run.load_with_config(NetworkConfig)


@pytest.mark.skipif(OLDER, reason="needs Keras 3.15, which wrote it; Python 3.10 has 3.12")
def test_its_network_loads(run):
    network, config = run.load_with_config(NetworkConfig)
    assert (config.classes, config.input_wh, config.backbone) == (("face",), (32, 32), "slim")
    assert network(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 21, 6)


def test_it_resumes(run, eagerly):
    config = NetworkConfig.from_json(run.read("config.json")["network"])
    settings = Settings(**{**run.read("config.json")["settings"], "epochs": 3})
    job = DetectorJob(data=(Path("data"),), out=run.path, network=config, settings=settings)
    assert run.last_epoch() == 2
    before = read_log(run)["loss"]
    assert train_detector(job, resume=True).last_epoch() == 3
    assert read_log(run)["loss"][:2] == before
    assert len(read_log(run)["loss"]) == 3
