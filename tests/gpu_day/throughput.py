"""Sessions by model, precision, runtime and batch."""

from functools import partial

import numpy as np

from tests.gpu_day.day import read_manifest
from trainers.evaluation.timing import time_in_turn

ROUNDS = (5, 1000)  # at least, at most


def measure(day):
    for label, path, session in day.sessions():
        shape = read_manifest(path).input_shape
        for batch in day.batches:
            what = f"{label}, batch {batch}"
            inputs = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
            with day.attempt(what):
                times = time_calls(partial(session.infer, inputs), day.seconds)
                day.results.measured(what, batch / times.median_s(0), "pictures/s")
                day.results.measured(f"{what}, p99", times.percentile_s(0, 99) * 1e3, "ms")


def time_calls(call, seconds):
    once_s = time_in_turn([call], 1).median_s(0)
    return time_in_turn([call], int(np.clip(seconds / max(once_s, 1e-6), *ROUNDS)))
