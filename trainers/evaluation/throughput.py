"""Training throughput: the whole loop against the bare training step.

The bare step runs on prepared batches; the whole loop prepares them meanwhile. On a machine where
both share the cores the ratio cannot reach 1: the goal is 0.85.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from trainers.input.pipeline import Batch, DatasetBatches, stream_batches

GOAL = 0.85
_READY = 4  # prepared batches, used in turn

Step = Callable[[Batch], object]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pictures per second.

    Attributes:
        bare: Rate of the step on prepared batches.
        loop: Rate of the step with its input pipeline.
        pipeline: Rate of the input pipeline alone.
    """

    bare: float
    loop: float
    pipeline: float

    @property
    def ratio(self) -> float:
        """Throughput of the loop relative to the bare step."""
        return self.loop / self.bare

    def __str__(self) -> str:
        verdict = "reached" if self.ratio >= GOAL else "missed"
        return (
            f"whole loop {self.loop:.1f} pictures/s, bare step {self.bare:.1f}, "
            f"ratio {self.ratio:.2f} (goal {GOAL}: {verdict}), pipeline alone {self.pipeline:.1f}"
        )


def _rate(batches: Iterator[Batch], step: Step, clock: Callable[[], float]) -> float:
    """Pictures per second of ``step``, which must return only when its work is done."""
    start_s, count = clock(), 0
    for batch in batches:
        step(batch)
        count += len(batch["images"])
    return count / max(clock() - start_s, 1e-9)


def measure_throughput(
    source: DatasetBatches, step: Step, steps: int = 30, workers: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:  # fmt: skip
    """Measure ``steps`` steps of each kind, with a full image cache and a traced step.

    ``step`` runs one training step and returns only when it is done. The loop is measured between
    two halves of the bare step, so that a machine whose speed drifts distorts the ratio less.
    """
    for example in source.dataset.examples:
        source.pictures.load(example)
    endless: Generator[Batch] = stream_batches(source, workers=workers, epochs=None)
    ready = list(itertools.islice(endless, _READY))
    alone = _rate(itertools.islice(endless, steps), lambda _: None, clock)
    endless.close()
    step(ready[0])

    def bare(count: int) -> float:
        return _rate(itertools.islice(itertools.cycle(ready), count), step, clock)

    half = max(1, steps // 2)
    before = bare(half)
    endless = stream_batches(source, workers=workers, epochs=None)
    next(endless)
    loop = _rate(itertools.islice(endless, steps), step, clock)
    endless.close()
    return Throughput(2 / (1 / before + 1 / bare(half)), loop, alone)
