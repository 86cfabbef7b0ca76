"""What a look at one face's liveness costs beside an adopted pair.

Run: ``python -m tests.benchmarks.liveness PAIR.onnx [ROUNDS]``. Goal: zoo:liveness-nano takes no
longer than the adopted MiniFASNet pair, one thread, CPU time, measured in turns.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from edge.models.contract import load_model
from edge.models.liveness import ContractLiveness
from edge.models.paths import resolve_model
from edge.runtimes.onnx import Options, build


def main() -> None:
    """Median time of each, and the median of the ratios of neighbours."""
    pair, rounds = sys.argv[1], int((sys.argv[2:] or ["200"])[0])
    runtime = build(Options(threads=1))
    models = [load_model("liveness", runtime, resolve_model(name, Path.cwd()))
              for name in (pair, "zoo:liveness-nano")]  # fmt: skip
    for count in (1, 4):
        spent = np.array([[_once(model, count) for model in models] for _ in range(rounds)])
        theirs, ours = np.median(spent[rounds // 10 :], axis=0) * 1e3 / count
        ratio = np.median(spent[rounds // 10 :, 1] / spent[rounds // 10 :, 0])
        print(f"{count} face(s): {theirs:.2f} ms each, zoo:liveness-nano {ours:.2f}; {ratio:.2f}")


def _once(model: ContractLiveness, count: int) -> float:
    size = (count, model.manifest.crops, *model.manifest.input_wh[::-1], 3)
    clips = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    start = time.process_time()
    model.live(clips)
    return time.process_time() - start


if __name__ == "__main__":
    main()
