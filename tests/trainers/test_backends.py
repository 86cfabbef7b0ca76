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
from trainers.losses import LossConfig, yolo_loss
from trainers.network import NetworkConfig, build
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
np.savez(sys.argv[1], raw=ops.convert_to_numpy(raw), loss=loss)
"""
EMBEDDER = """
import sys
import numpy as np, keras
from keras import ops
from trainers.encoder import EncoderConfig, build
from trainers.objective import NAMES, EmbedTask, ObjectiveConfig
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
    taught = rng.normal(size=(6, 8)).astype("float32")
    y = {"person": np.int32([0, 0, 1, 1, 2, -1]),
         "taught": taught / np.linalg.norm(taught, axis=1, keepdims=True)}
    spread = raw + y["taught"]
    unit = spread / ops.sqrt(ops.sum(ops.square(spread), 1, keepdims=True))
    parts.append(task.losses_of(unit, y))
loss = [float(ops.convert_to_numpy(v)) for p in parts for _, v in sorted(p.items())]
np.savez(sys.argv[1], raw=ops.convert_to_numpy(raw), loss=loss)
"""


def run(backend: str, script: str, out: Path) -> dict[str, np.ndarray]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", script, str(out)], env=environment, cwd=root, check=True, timeout=300
    )
    with np.load(out) as saved:
        return dict(saved)


@pytest.mark.slow
@pytest.mark.parametrize("script", [SCRIPT, EMBEDDER], ids=["detector", "embedder"])
def test_forward_and_loss_are_equal_on_the_installed_backends(tmp_path, script):
    results = {name: run(name, script, tmp_path / f"{name}.npz") for name in BACKENDS}
    first = results[BACKENDS[0]]
    assert np.isfinite(first["raw"]).all()
    assert np.isfinite(first["loss"]).all()
    for other in results.values():
        np.testing.assert_allclose(other["raw"], first["raw"], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(other["loss"], first["loss"], rtol=1e-3, atol=1e-3)
