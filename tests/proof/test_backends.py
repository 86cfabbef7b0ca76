"""A detector learns the same on every backend that is installed, and on two devices; `make proof`.

JAX compiles each network for minutes, so this is no part of the ordinary suite.
"""

from __future__ import annotations

import pytest

from tests.trainers.run.test_backends import BACKENDS, assert_equal_on_all_backends, python

pytestmark = pytest.mark.proof
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
from trainers.data.parts import Parts
from trainers.losses.detection_task import YoloTask
placed = set()
class Watched(YoloTask):
    def compute_loss(self, *arguments, **named):
        mesh = keras.distribution.distribution().device_mesh
        placed.update(str(device) for device in mesh.devices.ravel())
        return super().compute_loss(*arguments, **named)
detector.YoloTask = Watched
here = Path(sys.argv[1])
parts = Parts(*drawn_dataset(here / "data", 8).split(0.3, 1))
job = detector.DetectorJob(data=(here / "data",), out=here / "run", network=TINY,
                           settings=SETTINGS, devices=2)
folder = detector.fit(job, "detect", parts, [], detector.compute_metrics, detector.METRIC)
print(keras.backend.backend(), len(placed), folder.last_epoch())
weight = folder.load().trainable_weights[0]
print(len(weight.value.sharding.device_set))
"""


def test_forward_loss_and_a_step_of_a_detector_are_equal_on_the_installed_backends(tmp_path):
    assert_equal_on_all_backends(SCRIPT, tmp_path)


@pytest.mark.skipif("jax" not in BACKENDS, reason="needs JAX, which makes devices of a processor")
def test_a_run_on_two_devices_trains_on_both(tmp_path):
    two = "--xla_force_host_platform_device_count=2"
    told = python(DEVICES, tmp_path, "jax", XLA_FLAGS=two, JAX_PLATFORMS="cpu")
    assert told.split() == ["jax", "2", "2", "2"]
