"""The forward pass and the loss are the same on every backend that is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
SCRIPT = """
import sys
import numpy as np, keras
from keras import ops
from trainers.losses.detection import LossConfig, yolo_loss
from trainers.losses.detection_task import YoloTask
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build
config = NetworkConfig(("a", "b"), (64, 64), "slim", 0.05, neck_channels=(8, 8, 8),
                       head_channels=8, head_depth=1, landmarks=True)
model = build(config)
rng = np.random.default_rng(0)
model.set_weights([rng.normal(0.2, 0.3, w.shape).astype("float32") ** 2 for w in model.weights])
images = rng.uniform(0, 1, (2, 64, 64, 3)).astype("float32")
raw = model(images)
labels = {"boxes": np.float32([[[8, 8, 40, 40]], [[20, 4, 50, 60]]]),
          "class_id": np.int32([[0], [1]]),
          "landmarks": rng.uniform(8, 40, (2, 1, 5, 2)).astype("float32"),
          "weight": np.ones((2, 1), "float32")}
small = ops.tanh(raw)
parts = [yolo_loss(small, labels, config, LossConfig(assignment=a)) for a in ("dynamic", "grid")]
loss = [float(ops.convert_to_numpy(v)) for p in parts for _, v in sorted(p.items())]
raw = ops.convert_to_numpy(raw)
task = YoloTask(model, config, LossConfig(assignment="grid"))
task.compile(keras.optimizers.SGD(1e-3, clipnorm=1.0))
task.train_on_batch(rng.integers(0, 256, (2, 64, 64, 3)).astype("uint8"), labels)
stepped = np.concatenate([ops.convert_to_numpy(w).ravel() for w in model.trainable_weights])
np.savez(sys.argv[1], raw=raw, loss=loss, stepped=stepped)
"""
DEVICES = """
import sys
from pathlib import Path
from dataclasses import replace
import keras
from tests.support.drawn_data import drawn_dataset
from tests.trainers.run.test_train import SETTINGS, TINY
from trainers import detector
from trainers.losses.detection_task import YoloTask
placed = set()
class Watched(YoloTask):
    def compute_loss(self, *arguments, **named):
        mesh = keras.distribution.distribution().device_mesh
        placed.update(str(device) for device in mesh.devices.ravel())
        return super().compute_loss(*arguments, **named)
detector.YoloTask = Watched
here = Path(sys.argv[1])
parts = drawn_dataset(here / "data", 8).split(0.3, 1)
job = detector.DetectorJob(data=(here / "data",), out=here / "run", network=TINY,
                           settings=SETTINGS, devices=2)
folder = detector.fit(job, "detect", parts, [], detector.compute_metrics, detector.METRIC)
print(keras.backend.backend(), len(placed), folder.last_epoch())
weight = folder.load().trainable_weights[0]
print(len(weight.value.sharding.device_set))
"""
EMBEDDER = """
import sys
import numpy as np, keras
from keras import ops
from trainers.networks.config import EncoderConfig
from trainers.networks.mobilefacenet import build
from trainers.losses.embedding import NAMES, EmbedTask, ObjectiveConfig
config = EncoderConfig(8, 8, (8, 8, 8), (0, 0, 0), (8, 8, 8), (8, 8, 8), 16, fading=True)
parts = []
for mining, pair in (("semi-hard", "absolute"), ("batch-hard", "chi-square")):
    losses = ObjectiveConfig(tuple((name, 1.0) for name in NAMES), mining=mining, pair=pair)
    task = EmbedTask(build(config), losses, 3)
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 255, (6, 112, 112, 3)).astype("uint8")
    task(faces)
    drawn = [np.abs(rng.normal(0.2, 0.3, w.shape)).astype("float32") for w in task.weights]
    task.set_weights(drawn)
    raw = task(faces)
    teacher = rng.normal(size=(6, 8)).astype("float32")
    y = {"person": np.int32([0, 0, 1, 1, 2, -1]),
         "teacher": teacher / np.linalg.norm(teacher, axis=1, keepdims=True)}
    spread = raw + y["teacher"]
    unit = spread / ops.sqrt(ops.sum(ops.square(spread), 1, keepdims=True))
    parts.append(task.compute_losses(unit, y))
loss = [float(ops.convert_to_numpy(v)) for p in parts for _, v in sorted(p.items())]
np.savez(sys.argv[1], raw=ops.convert_to_numpy(raw), loss=loss)
"""


def python(script: str, argument: Path, backend: str, **more: str) -> str:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **more}
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-c", script, str(argument)],
        env=environment, cwd=root, check=True, timeout=600, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def run(backend: str, script: str, out: Path) -> dict[str, np.ndarray]:
    python(script, out, backend)
    with np.load(out) as saved:
        return dict(saved)


@pytest.mark.slow
@pytest.mark.parametrize("script", [SCRIPT, EMBEDDER], ids=["detector", "embedder"])
def test_forward_loss_and_a_step_are_equal_on_the_installed_backends(tmp_path, script):
    results = {name: run(name, script, tmp_path / f"{name}.npz") for name in BACKENDS}
    first = results[BACKENDS[0]]
    assert np.isfinite(first["raw"]).all()
    assert np.isfinite(first["loss"]).all()
    for other in results.values():
        for name, value in first.items():
            rtol, atol = (1e-4, 1e-5) if name == "stepped" else (1e-3, 1e-3)
            np.testing.assert_allclose(other[name], value, rtol, atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif("jax" not in BACKENDS, reason="needs JAX, which makes devices of a processor")
def test_a_run_on_two_devices_trains_on_both(tmp_path):
    two = "--xla_force_host_platform_device_count=2"
    told = python(DEVICES, tmp_path, "jax", XLA_FLAGS=two, JAX_PLATFORMS="cpu")
    assert told.split() == ["jax", "2", "2", "2"]
