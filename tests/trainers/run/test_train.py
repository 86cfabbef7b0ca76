"""Runs: what a folder holds, resuming after a kill, and what goes wrong."""

from __future__ import annotations

import contextlib
import csv
import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edge.errors import ConfigError, EdgeError, ModelError, WorkerError
from tests.support.drawn_data import drawn_dataset
from trainers import detector
from trainers.augment.augment import Augment
from trainers.data.dataset import Dataset, Sample
from trainers.data.parts import Parts
from trainers.detector import DetectorJob
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build
from trainers.run import train as loop
from trainers.run.curves import read_log
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

TINY = NetworkConfig(
    ("object",), (32, 32), "slim", 0.05, neck="fpn", neck_channels=(8, 8, 8),
    head_channels=8, head_depth=1, shared_head=True, depthwise=False,
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")  # see eagerly
SETTINGS = Settings(epochs=2, batch=4, threads=1, strength=0)


def train(
    data: Path, out: Path, settings: Settings = SETTINGS, *, resume: bool = False,
    start: Path | None = None, augment: Sequence[Augment] = (), validate=detector.compute_metrics,
    tested: Dataset | None = None,
) -> RunFolder:  # fmt: skip
    job = DetectorJob(data=(data,), out=out, network=TINY, settings=settings, start=start)
    parts = Parts(*drawn_dataset(data, 8).split(0.3, 1), tested)
    return detector.fit(job, "detect", parts, augment, validate, detector.METRIC, resume=resume)


def test_the_finished_network_is_asked_about_the_test_part_once(tmp_path, eager_steps):
    drawn, asked = drawn_dataset(tmp_path / "test", 4), []

    def validate(network, config, part):
        asked.append(part)
        return {detector.METRIC: 0.5, "pictures": float(len(part))}

    with eager_steps():
        run = train(tmp_path / "data", tmp_path / "run", validate=validate, tested=drawn)
    assert run.read("test.json") == {detector.METRIC: 0.5, "pictures": 4}
    assert [part is drawn for part in asked] == [False, False, True]
    assert run.read("metrics.json")["pictures"] != 4


def epochs_of(folder: RunFolder) -> list[int]:
    with (folder.path / "log.csv").open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, eager_steps) -> tuple[Path, RunFolder]:
    data = tmp_path_factory.mktemp("data")
    with eager_steps():
        return data, train(data, tmp_path_factory.mktemp("runs") / "r")


def test_a_run_folder_holds_what_a_result_needs_to_be_repeated(finished):
    _, folder = finished
    config, about = folder.read("config.json"), folder.read("about.json")
    assert config["settings"]["seed"] == 0
    assert config["network"]["classes"]
    assert len(about["data_sha256"]) == 64
    assert set(about) >= {"git", "keras", "backend", "started"}
    assert folder.read("metrics.json")["ap50"] >= 0
    assert (folder.path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert epochs_of(folder) == [0, 1]
    if importlib.util.find_spec("tensorboard"):
        written = list((folder.path / "tensorboard" / "train").glob("events.out.tfevents.*"))
        assert written
        assert all(file.stat().st_size > 200 for file in written)  # more than a header


def test_the_best_network_is_loaded_with_its_configuration(finished):
    _, folder = finished
    model, config = folder.load_with_config(NetworkConfig)
    assert config.input_wh == (32, 32)
    assert model(np.zeros((1, 32, 32, 3), np.float32)).shape[1] == 16 + 4 + 1


@pytest.fixture
def usual_precision() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def test_mixed_precision_trains_float32_weights_with_float16_arithmetic(
    tmp_path, usual_precision, eagerly
):
    (tmp_path / "data").mkdir()
    settings = replace(SETTINGS, epochs=1, mixed_precision=True)
    folder = train(tmp_path / "data", tmp_path / "run", settings)
    layer = folder.load_with_config(NetworkConfig)[0].get_layer("backbone_stem")
    assert (layer.compute_dtype, layer.variable_dtype) == ("float16", "float32")
    assert np.isfinite(float(read_log(folder)["loss"][0]))


def test_a_second_run_in_the_same_folder_is_refused(finished):
    data, folder = finished
    with pytest.raises(ConfigError, match="--resume"):
        train(data, folder.path)


def test_resuming_with_other_data_is_refused(finished, tmp_path):
    data, folder = finished
    parts = Parts(*drawn_dataset(tmp_path, 8, (100, 80)).split(0.5, 1))
    job = DetectorJob(data=(data,), out=folder.path, network=TINY, settings=SETTINGS)
    with pytest.raises(ConfigError, match="other data"):
        detector.fit(job, "detect", parts, [], detector.compute_metrics, "ap50", resume=True)


@pytest.mark.parametrize("left", [0, 100, -100])  # of it; the last cuts the list of contents
def test_a_state_that_was_cut_short_says_what_to_do(finished, tmp_path, left):
    data, whole = finished
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "r"))
    (state,) = folder.state.iterdir()
    state.write_bytes(state.read_bytes()[:left])
    with pytest.raises(ConfigError, match=r"This file cannot be read .*: begin a new run"):
        train(data, folder.path, replace(SETTINGS, epochs=3), resume=True)


@pytest.mark.parametrize("change", [lambda b: b[:-100], lambda b: b[:3000] + bytes(99) + b[3099:]])
def test_a_broken_network_is_made_anew_once_deleted(finished, tmp_path, eagerly, change):
    data, whole = finished
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "r"))
    folder.best.write_bytes(change(folder.best.read_bytes()))
    with pytest.raises(ModelError, match="delete it and continue with --resume and more epochs"):
        folder.load()
    folder.best.unlink()
    train(data, folder.path, replace(SETTINGS, epochs=3), resume=True)
    folder.load()


KILLED = """
import os, signal, sys
from pathlib import Path
import tensorflow as tf
tf.config.run_functions_eagerly(True)
from tests.trainers.run import test_train
from trainers import detector
count = 0
def to_keras_batch(batch, real=detector.to_keras_batch):
    global count
    count += 1
    if (Path(sys.argv[2]) / "state" / "epoch-00002.npz").exists():
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of the third epoch
    return real(batch)
detector.to_keras_batch = to_keras_batch
settings = test_train.replace(test_train.SETTINGS, epochs=40)
test_train.train(Path(sys.argv[1]), Path(sys.argv[2]), settings)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_and_loses_at_most_one_epoch(tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(out)],
        env=environment, cwd=Path(__file__).parents[3], timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    folder = RunFolder.open(out)
    before = folder.last_epoch()
    assert before >= 2
    assert folder.load_with_config(NetworkConfig)[0] is not None
    settings = replace(SETTINGS, epochs=before + 1)
    train(data, out, settings, resume=True)
    assert folder.last_epoch() == before + 1
    assert epochs_of(folder)[-1] == before
    assert not list(out.rglob("*part*"))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path, eagerly):
    (tmp_path / "data").mkdir()
    sick = build(TINY)
    sick.get_layer("head_0_obj_pred").bias.assign([np.nan])
    sick.save(tmp_path / "sick.keras")
    with pytest.raises(EdgeError, match="lower the learning rate") as caught:
        train(tmp_path / "data", tmp_path / "run", start=tmp_path / "sick.keras")
    assert "epoch 1, step 1" in str(caught.value)
    assert "no epoch was finished" in str(caught.value)


def on_the_second(plant) -> Callable[..., dict[str, float]]:
    """Validation that finds ever better figures, and does something at its second call."""
    calls = []

    def validate(*_: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            plant()
        return {"ap50": float(len(calls))}

    return validate


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
@pytest.mark.parametrize(
    "writer", ["trainers.run.folder", "edge.atomic_file", "trainers.run.callbacks"]
)  # of best.keras, metrics.json and the state
def test_a_disk_that_fills_up_in_mid_training_keeps_the_last_good_checkpoint(
    tmp_path, writer, eagerly, monkeypatch
):
    run_folder = tmp_path / "run"
    (tmp_path / "data").mkdir()

    @contextlib.contextmanager
    def replace_on_a_full_disk(path: Path, *, suffix: str = "", **_: object) -> Iterator[Path]:
        part = path.with_name(f"part{suffix}")
        part.symlink_to("/dev/full")
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink()

    full = on_the_second(
        lambda: monkeypatch.setattr(f"{writer}.replace_file", replace_on_a_full_disk)
    )
    with pytest.raises(
        EdgeError, match="is full: free some space and continue with --resume"
    ) as caught:
        train(tmp_path / "data", run_folder, replace(SETTINGS, epochs=3), validate=full)
    assert "the last good checkpoint is kept" in str(caught.value)
    folder = RunFolder.open(run_folder)
    assert folder.load_with_config(NetworkConfig)[0] is not None
    assert folder.read("metrics.json")["ap50"] >= 1
    assert folder.last_epoch() == 2
    assert not list(run_folder.rglob("*part*"))


def test_a_worker_that_fails_in_mid_training_keeps_the_last_good_checkpoint(tmp_path, eagerly):
    (tmp_path / "data").mkdir()
    calls = []

    def out_of_memory(sample: Sample, rng: np.random.Generator) -> Sample:
        calls.append(1)
        if len(calls) > 12:  # two epochs of four pictures, and a batch that Keras looks at before
            raise MemoryError("no room for a picture")
        return sample

    with pytest.raises(WorkerError, match="MemoryError: no room for a picture") as caught:
        train(
            tmp_path / "data", tmp_path / "run", replace(SETTINGS, epochs=5),
            augment=[out_of_memory], validate=on_the_second(lambda: None),
        )  # fmt: skip
    assert "the last good checkpoint is kept" in str(caught.value)
    folder = RunFolder.open(tmp_path / "run")
    assert folder.last_epoch() >= 1
    assert folder.load_with_config(NetworkConfig)[0] is not None


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError("Unable to write: No space left on device"), True),  # h5py's way
        (OSError(errno.EACCES, "x"), False),
        (ValueError("No space left"), False),
    ],
)
def test_what_a_full_disk_looks_like(error, full):
    assert loop.is_full_disk(error) is full


@pytest.mark.parametrize(
    "wrong", [{"epochs": -1}, {"batch": -1}, {"learning_rate": 0.0}, {"ema": 1.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        Settings(**wrong)


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="devices"):
        loop.prepare(Settings(), devices=64)


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no run"):
        RunFolder.open(tmp_path)
