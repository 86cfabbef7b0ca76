"""Engines in the daemon: models run on ONNX Runtime until theirs is built, loaded and proven.

Building is the work of another program (`edge-deploy build`), which a runtime names; it runs as a
niced child. The engine takes the reference's place between two batches, and gives it back when the
GPU's memory ends or live frames show that it sees something else.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import IO

from edge.engines.parity import Tally
from edge.engines.synthetic_images import drawn
from edge.errors import EdgeError, EngineError, GpuLostError, GpuMemoryError
from edge.manifest import KEY, Manifest
from edge.ports import EngineRuntime, Runtime, Session
from edge.service.workers import Worker
from edge.types import F32, U8

log = logging.getLogger(__name__)

SAY_S = 10.0  # between two log lines of a build
NICE = 10
SAMPLE_S = 1.0  # between two batches that are kept or compared
SAMPLES, SAMPLE_ROWS = 3, 4
FRAMES_S = 3.0  # an engine that is there at once waits so long for real frames to be tried on
TRIAL_ROWS = 40  # findings compared on live frames until an engine is trusted
TRIAL_SHARE = 0.05  # of the time may go into comparing: the reference may be far slower

Told = Callable[[str, float], None]  # task, value


class Exchange:
    """A session whose engine can be put in and taken out between two batches.

    Args:
        reference: the model on ONNX Runtime.
        name: for messages.

    Attributes:
        metadata: of the model.
        reference: the model on ONNX Runtime.
        samples: the latest batches, as the model saw them.
    """

    def __init__(self, reference: Session, name: str) -> None:
        self.metadata = reference.metadata
        self.reference = reference
        self.samples: list[U8] = []
        self._name = name
        self._engine: Held | None = None
        self._change = threading.Lock()
        self._due_s = 0.0  # when the next batch is kept or compared

    @property
    def has_engine(self) -> bool:
        """Whether an engine is in."""
        return self._engine is not None

    def infer(self, batch: U8) -> Mapping[str, F32]:
        """See `edge.ports.Session`."""
        with self._change:
            held = self._engine
            if held:
                held.users += 1
        if held is None:
            self._sample(batch)
            return self.reference.infer(batch)
        try:
            return self._tried(held, batch, held.engine.infer(batch))
        except (GpuMemoryError, EngineError) as error:
            self._give_up(held, str(error))
            return self.reference.infer(batch)
        finally:
            self._leave(held)

    def put_in(self, engine: Session, trial: Tally | None = None) -> None:
        """From the next batch on the engine answers; on trial it is compared until it is proven."""
        with self._change:
            old, self._engine = self._engine, Held(engine, trial)
            self.samples, self._due_s = [], 0.0
            idle = old is not None and not old.users
        if old and idle:  # else the last who leaves it closes it
            old.engine.close()

    def close(self) -> None:
        """Free engine and reference."""
        if self._engine:
            self._engine.engine.close()
        self.reference.close()

    def _leave(self, held: Held) -> None:
        """The last who leaves an engine that was given up closes it."""
        with self._change:
            held.users -= 1
            last = not held.users and self._engine is not held
        if last:
            held.engine.close()

    def _is_due(self) -> bool:
        """Whether to keep or compare this batch; no other is due before `_due_s` is set again."""
        with self._change:
            due = time.monotonic() >= self._due_s
            if due:
                self._due_s = math.inf
        return due

    def _sample(self, batch: U8) -> None:
        if len(batch) and self._is_due():
            self.samples = [*self.samples[1 - SAMPLES :], batch[:SAMPLE_ROWS].copy()]
            self._due_s = time.monotonic() + SAMPLE_S

    def _tried(self, held: Held, batch: U8, outputs: Mapping[str, F32]) -> Mapping[str, F32]:
        """The engine's outputs, unless it is on trial and sees something else."""
        trial = held.trial
        if trial is None or not len(batch) or not self._is_due():
            return outputs
        rows, started_s = slice(0, SAMPLE_ROWS), time.monotonic()
        wanted = self.reference.infer(batch[rows])
        trial.add(wanted, {name: value[rows] for name, value in outputs.items()})
        now_s = time.monotonic()
        self._due_s = now_s + max(SAMPLE_S, (now_s - started_s) / TRIAL_SHARE)
        if trial.problem:
            raise EngineError(f"its engine is refused: on live frames {trial.problem}")
        if trial.rows >= TRIAL_ROWS:
            log.info("%s: its engine is proven on %d findings", self._name, trial.rows)
            held.trial = None
        return outputs

    def _give_up(self, held: Held, why: str) -> None:
        with self._change:
            if self._engine is not held:
                return  # another lane did
            self._engine = None
        log.error("%s: %s; it runs on ONNX Runtime again", self._name, why)


@dataclass(slots=True, eq=False)
class Held:
    """An engine in an exchange.

    Attributes:
        engine: it.
        trial: what was compared so far; None when it is proven.
        users: batches that run on it now.
    """

    engine: Session
    trial: Tally | None
    users: int = 0


@dataclass(slots=True)
class Job:
    """A model that is to get an engine.

    Attributes:
        name: its path.
        model: bytes of its file.
        exchange: its session.
        task: of its manifest; empty when it has none.
    """

    name: str
    model: bytes
    exchange: Exchange
    task: str


class EngineKeeper:
    """A runtime that runs models on ONNX Runtime and, by and by, on engines.

    Args:
        runtime: loads engines and knows what builds them.
        reference: ONNX Runtime.
        building: is told a model's task and for how long its engine was built.
        using: is told a model's task and 1 or 0: whether an engine runs it.
        say_s: between two log lines of a build.
    """

    def __init__(self, runtime: EngineRuntime, reference: Runtime, say_s: float = SAY_S) -> None:
        self.building: Told = _ignored
        self.using: Told = _ignored
        self._runtime, self._reference, self._say_s = runtime, reference, say_s
        self._jobs: list[Job] = []

    @property
    def lanes(self) -> int:
        """As many as suit the engines: that is where models are to run."""
        return self._runtime.lanes

    def load(self, model: bytes, name: str) -> Exchange:
        """Load a model into ONNX Runtime; its engine is to follow.

        Raises:
            ModelError: the bytes are no model.
        """
        exchange = Exchange(self._reference.load(model, name), name)
        try:
            task = str(Manifest.model_validate_json(exchange.metadata[KEY]).task)
        except (KeyError, ValueError):
            task = ""  # whoever asked for the model will refuse it
        self._jobs.append(Job(name, model, exchange, task))
        return exchange

    @property
    def is_ready(self) -> bool:
        """Whether frames may be looked at."""
        return not self._runtime.waits or all(job.exchange.has_engine for job in self._jobs)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Models whose engine cannot be loaded now, and why."""
        for job in self._jobs:
            try:
                self._runtime.load(job.model, job.name).close()
            except (EngineError, GpuMemoryError) as error:  # built when it runs, or built smaller
                yield job.name, str(error)

    def run(self, worker: Worker) -> None:
        """Load, and build where it must be, the engine of one model after the other.

        Raises:
            GpuLostError: this process cannot use the GPU any more.
            EngineError: an engine was given up, and nothing else may run its model.
        """
        for job in self._jobs:
            self.using(job.task, 0)
            job.exchange.samples = []  # until here: the black pictures that models are checked with
        for job in self._jobs:
            if worker.stop.is_set():
                return
            worker.mark_progress()
            try:
                self._equip(job, worker)
            except GpuLostError:
                raise
            except EdgeError as error:
                state = "is not ready" if self._runtime.waits else "stays on ONNX Runtime"
                log.error("%s %s: %s", job.name, state, error)  # noqa: TRY400
        while not worker.stop.wait(1):  # engines may be given up
            worker.mark_progress()
            for job in self._jobs:
                self.using(job.task, job.exchange.has_engine)
                if self._runtime.waits and not (job.model or job.exchange.has_engine):
                    raise EngineError(
                        f"{job.name}: its engine was given up, and it may run nowhere"
                    )

    def _equip(self, job: Job, worker: Worker) -> None:
        engine = self._load_or_build(job, worker)
        if engine is None:
            return
        try:
            tally = self._compared(job, engine, worker)
            if tally.problem:
                raise EngineError(f"its engine is refused: {tally.problem}")
        except EdgeError:
            engine.close()
            raise
        job.exchange.put_in(engine, tally if tally.rows < TRIAL_ROWS else None)
        job.model = b""
        self.using(job.task, 1)
        log.info("%s: runs on its engine, %d findings agree so far", job.name, tally.rows)

    def _load_or_build(self, job: Job, worker: Worker) -> Session | None:
        """The engine of a model; None when the worker was stopped.

        Raises:
            EngineError: it cannot be built, or what was built not be loaded.
            GpuMemoryError: not even an engine of the smallest batch fits.
        """
        built = False
        while not worker.stop.is_set():
            try:
                return self._runtime.load(job.model, job.name)
            except GpuMemoryError:
                if not self._runtime.shrink():
                    raise
                built = False
            except EngineError as error:
                if built:
                    raise
                log.info("%s: %s", job.name, error)
                try:
                    self._build(job, worker)
                except OSError as failed:  # a full disk, no process to be had
                    raise EngineError(f"its builder cannot be run: {failed}") from failed
                built = True
        return None

    def _build(self, job: Job, worker: Worker) -> None:
        """Run the builder and wait, telling how long it takes.

        Raises:
            EngineError: it failed or took too long; with its last words.
        """
        command = self._runtime.build_command(job.name, sha256(job.model).hexdigest())
        with tempfile.TemporaryFile() as output:
            with _niced(command, output) as child:
                started_s = said_s = time.monotonic()
                while child.poll() is None and not worker.stop.wait(0.1):
                    worker.mark_progress()
                    took_s = time.monotonic() - started_s
                    self.building(job.task, took_s)
                    if time.monotonic() - said_s >= self._say_s:
                        said_s = time.monotonic()
                        what = _last_line(output)
                        log.info("%s: building its engine for %.0f s: %s", job.name, took_s, what)
                    if took_s > self._runtime.build_timeout_s:
                        raise EngineError(f"its engine was not built in {took_s:.0f} s")
            if child.returncode and not worker.stop.is_set():
                raise EngineError(f"its engine cannot be built: {_last_line(output)}")
        self.building(job.task, time.monotonic() - started_s)

    def _compared(self, job: Job, engine: Session, worker: Worker) -> Tally:
        """The engine beside ONNX Runtime, on drawn pictures and on frames of the cameras."""
        manifest = Manifest.model_validate_json(job.exchange.metadata[KEY])
        deadline_s = time.monotonic() + FRAMES_S
        while not (self._runtime.waits or job.exchange.samples or worker.stop.is_set()):
            if time.monotonic() > deadline_s:
                break
            worker.mark_progress()
            worker.stop.wait(0.1)
        tally = Tally(manifest)
        for batch in (drawn(manifest.input_shape), *job.exchange.samples):
            worker.mark_progress()
            tally.add(job.exchange.reference.infer(batch), engine.infer(batch))
        return tally


def _ignored(task: str, value: float) -> None:
    """Nobody asked."""


@contextlib.contextmanager
def _niced(command: Sequence[str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A child of low priority in a process group of its own, which ends with the block."""
    child = subprocess.Popen(  # noqa: S603 - the runtime's own command
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, NICE)
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _last_line(output: IO[bytes]) -> str:
    """What a child wrote last; read without moving the place where it writes on."""
    size_bytes = os.fstat(output.fileno()).st_size
    tail = os.pread(output.fileno(), 4096, max(size_bytes - 4096, 0)).decode(errors="replace")
    lines = tail.strip().splitlines()
    return lines[-1].strip() if lines else "it says nothing"
