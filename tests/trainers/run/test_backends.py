"""Losses, and the forward pass of an embedder, are the same on every backend that is installed.

The whole detector, with a step, takes minutes to compile: `tests/proof/test_backends.py`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
DETECTOR = """
import sys
import numpy as np
from keras import ops
from trainers.losses.detection import LossConfig, yolo_loss
from trainers.networks.config import NetworkConfig
config = NetworkConfig(("a", "b"), (64, 64), landmarks=True)
rng = np.random.default_rng(0)
raw = rng.uniform(-1, 1, (2, 84, 17)).astype("float32")
labels = {"boxes": np.float32([[[8, 8, 40, 40]], [[20, 4, 50, 60]]]),
          "class_id": np.int32([[0], [1]]),
          "landmarks": rng.uniform(8, 40, (2, 1, 5, 2)).astype("float32"),
          "weight": np.ones((2, 1), "float32")}
parts = [yolo_loss(ops.convert_to_tensor(raw), labels, config, LossConfig(assignment=a))
         for a in ("dynamic", "grid")]
loss = [float(ops.convert_to_numpy(v)) for p in parts for _, v in sorted(p.items())]
np.savez(sys.argv[1], loss=loss)
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


def assert_equal_on_all_backends(script: str, folder: Path) -> None:
    """What a script saves is the same, whichever backend runs it."""
    results = {name: run(name, script, folder / f"{name}.npz") for name in BACKENDS}
    first = results[BACKENDS[0]]
    assert all(np.isfinite(value).all() for value in first.values())
    for other in results.values():
        for name, value in first.items():
            rtol, atol = (1e-4, 1e-5) if name == "stepped" else (1e-3, 1e-3)
            np.testing.assert_allclose(other[name], value, rtol, atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("script", [DETECTOR, EMBEDDER], ids=["detector", "embedder"])
def test_losses_are_equal_on_the_installed_backends(tmp_path, script):
    assert_equal_on_all_backends(script, tmp_path)
