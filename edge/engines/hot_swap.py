"""Hot swap: an engine takes over from ONNX Runtime between two batches, at first on trial.

The session falls back to ONNX Runtime when the GPU runs out of memory, or when live frames show
that the engine finds something else.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from edge.engines.parity import ParityCheck
from edge.errors import EngineError, GpuMemoryError
from edge.ports import Session
from edge.types import F32, U8

log = logging.getLogger(__name__)

SAMPLE_S = 1.0  # between two batches that are kept or compared
MAX_SAMPLES, SAMPLE_ROWS = 3, 4
TRIAL_ROWS = 40  # rows that must agree on live frames before an engine is trusted
TRIAL_FRACTION = 0.05  # of the time may go into comparing: the reference may be far slower


@dataclass(slots=True, eq=False)
class InstalledEngine:
    """An engine that answers for a model.

    Attributes:
        trial: What was compared so far; None once the engine is trusted.
        users: Batches that run on it now.
    """

    session: Session
    trial: ParityCheck | None
    users: int = 0


class SwappableSession:
    """A session whose engine can be installed and removed between two batches.

    Attributes:
        reference: The model on ONNX Runtime.
        samples: The latest batches, while no engine is installed.
    """

    def __init__(self, reference: Session, name: str) -> None:
        self.metadata = reference.metadata
        self.reference = reference
        self.samples: list[U8] = []
        self._name = name
        self._engine: InstalledEngine | None = None
        self._lock = threading.Lock()
        self._due_s = 0.0  # when the next batch is kept or compared

    @property
    def has_engine(self) -> bool:
        """Whether an engine is installed."""
        return self._engine is not None

    def infer(self, batch: U8) -> Mapping[str, F32]:
        """See `edge.ports.Session`."""
        with self._lock:
            engine = self._engine
            if engine:
                engine.users += 1
        if engine is None:
            self._sample(batch)
            return self.reference.infer(batch)
        try:
            return self._check(engine, batch, engine.session.infer(batch))
        except (GpuMemoryError, EngineError) as error:
            self._fall_back(engine, str(error))
            return self.reference.infer(batch)
        finally:
            self._release(engine)

    def install(self, session: Session, trial: ParityCheck | None = None) -> None:
        """Let an engine answer from the next batch on, with ``trial`` compared until trusted."""
        with self._lock:
            old, self._engine = self._engine, InstalledEngine(session, trial)
            self.samples, self._due_s = [], 0.0
            idle = old is not None and not old.users
        if old and idle:  # else its last batch closes it
            old.session.close()

    def remove(self) -> None:
        """Free the engine, since another model has taken over; what still runs, runs on."""
        with self._lock:
            engine, self._engine = self._engine, None
            idle = engine is not None and not engine.users
        if engine and idle:  # else its last batch closes it
            engine.session.close()

    def close(self) -> None:
        """Free engine and reference."""
        if self._engine:
            self._engine.session.close()
        self.reference.close()

    def _release(self, engine: InstalledEngine) -> None:
        """Count a batch out; the last batch on a removed engine closes it."""
        with self._lock:
            engine.users -= 1
            last = not engine.users and self._engine is not engine
        if last:
            engine.session.close()

    def _is_due(self) -> bool:
        """Whether to keep or compare this batch; no other is due before `_due_s` is set again."""
        with self._lock:
            due = time.monotonic() >= self._due_s
            if due:
                self._due_s = math.inf
        return due

    def _sample(self, batch: U8) -> None:
        if len(batch) and self._is_due():
            self.samples = [*self.samples[1 - MAX_SAMPLES :], batch[:SAMPLE_ROWS].copy()]
            self._due_s = time.monotonic() + SAMPLE_S

    def _check(
        self, engine: InstalledEngine, batch: U8, outputs: Mapping[str, F32]
    ) -> Mapping[str, F32]:
        """The engine's outputs, unless it is on trial and differs from the reference."""
        trial = engine.trial
        if trial is None or not len(batch) or not self._is_due():
            return outputs
        rows, started_s = slice(0, SAMPLE_ROWS), time.monotonic()
        expected = self.reference.infer(batch[rows])
        trial.add(expected, {name: value[rows] for name, value in outputs.items()})
        now_s = time.monotonic()
        self._due_s = now_s + max(SAMPLE_S, (now_s - started_s) / TRIAL_FRACTION)
        if trial.problem:
            raise EngineError(f"the engine was refused: on live frames {trial.problem}")
        if trial.rows >= TRIAL_ROWS:
            log.info("%s: its engine is trusted after %d findings", self._name, trial.rows)
            engine.trial = None
        return outputs

    def _fall_back(self, engine: InstalledEngine, reason: str) -> None:
        with self._lock:
            if self._engine is not engine:
                return  # another worker did
            self._engine = None
        log.error("%s: %s; it runs on ONNX Runtime again", self._name, reason)
