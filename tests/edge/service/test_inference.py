"""The inference pool: how many cameras share a batch."""

import itertools

import pytest

from edge.config import Batching
from edge.diagnostics.benchmark import NullDetector
from edge.pipeline import Pipeline
from edge.service.frame_queue import FrameQueue
from edge.service.health import HealthBoard
from edge.service.inference import InferencePool
from edge.service.metrics import Metrics
from edge.types import Frame, make_black


@pytest.mark.parametrize(
    ("max_batch_size", "worth_batching", "cameras", "workers", "taken"),
    [
        (0, 0, 8, 2, 4),  # a GPU: the cameras, shared among the workers
        (0, 0, 1, 2, 1),
        (0, 1, 8, 2, 1),  # a processor: what a batch gains is nothing
        (0, 6, 8, 1, 6),
        (3, 1, 8, 2, 3),  # what is configured holds
        (3, 0, 8, 2, 3),
    ],
)
def test_as_many_cameras_share_a_batch_as_is_worth_while(
    max_batch_size, worth_batching, cameras, workers, taken
):
    frames = FrameQueue()
    pool = InferencePool(
        Pipeline(NullDetector(), None, itertools.count(1)), frames,
        Batching(max_batch_size=max_batch_size), workers, lambda: True, lambda _: None,
        lambda _: None, Metrics(), HealthBoard(), cameras, worth_batching,
    )  # fmt: skip
    pool.timer.record(0.01, 1)  # before the first measurement one is taken
    for n in range(cameras):
        frames.put(Frame(f"camera-{n}", 1, 0, 0.0, 0.0, make_black((64, 36))))
    batch = frames.take(pool._max_cameras(), 0, 0, pool._max_frames())
    assert [frame.camera for frame in batch] == [f"camera-{n}" for n in range(taken)]
