"""Engines in the daemon: models run on ONNX Runtime until theirs is built, loaded and verified.

Building is the work of another program (`edge-deploy build`), which a runtime names; it runs as a
niced child. The finished engine is swapped in between two batches (`edge.engines.hot_swap`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import IO

from edge.engines.hot_swap import TRIAL_ROWS, SwappableSession
from edge.engines.parity import ParityCheck
from edge.engines.synthetic_images import draw_synthetic_images
from edge.errors import EdgeError, EngineError, GpuLostError, GpuMemoryError
from edge.manifest import KEY, Manifest
from edge.ports import EngineRuntime, Runtime, Session
from edge.service.workers import Worker

log = logging.getLogger(__name__)

SAY_S = 10.0  # between two log lines of a build
NICE = 10
FRAMES_S = 3.0  # an engine that is there at once waits so long for real frames to be tried on

Told = Callable[[str, float], None]  # task, value


@dataclass(slots=True)
class Job:
    """A model that is to get an engine.

    Attributes:
        name: its path.
        model: bytes of its file.
        session: its session, which runs on ONNX Runtime first.
        task: of its manifest; empty when it has none.
    """

    name: str
    model: bytes
    session: SwappableSession
    task: str


class EngineManager:
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
    def workers(self) -> int:
        """As many as suit the engines: that is where models are to run."""
        return self._runtime.workers

    def load(self, model: bytes, name: str) -> SwappableSession:
        """Load a model into ONNX Runtime; its engine is to follow.

        Raises:
            ModelError: the bytes are no model.
        """
        session = SwappableSession(self._reference.load(model, name), name)
        try:
            task = str(Manifest.model_validate_json(session.metadata[KEY]).task)
        except (KeyError, ValueError):
            task = ""  # whoever asked for the model will refuse it
        self._jobs.append(Job(name, model, session, task))
        return session

    @property
    def is_ready(self) -> bool:
        """Whether frames may be looked at."""
        return not self._runtime.waits or all(job.session.has_engine for job in self._jobs)

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
            job.session.samples = []  # until here: the black pictures that models are checked with
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
                self.using(job.task, job.session.has_engine)
                if self._runtime.waits and not (job.model or job.session.has_engine):
                    raise EngineError(
                        f"{job.name}: its engine was given up, and it may run nowhere"
                    )

    def _equip(self, job: Job, worker: Worker) -> None:
        engine = self._load_or_build(job, worker)
        if engine is None:
            return
        try:
            check = self._compare(job, engine, worker)
            if check.problem:
                raise EngineError(f"its engine is refused: {check.problem}")
        except EdgeError:
            engine.close()
            raise
        job.session.install(engine, check if check.rows < TRIAL_ROWS else None)
        job.model = b""
        self.using(job.task, 1)
        log.info("%s: runs on its engine, %d findings agree so far", job.name, check.rows)

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

    def _compare(self, job: Job, engine: Session, worker: Worker) -> ParityCheck:
        """The engine beside ONNX Runtime, on synthetic images and on frames of the cameras."""
        manifest = Manifest.model_validate_json(job.session.metadata[KEY])
        deadline_s = time.monotonic() + FRAMES_S
        while not (self._runtime.waits or job.session.samples or worker.stop.is_set()):
            if time.monotonic() > deadline_s:
                break
            worker.mark_progress()
            worker.stop.wait(0.1)
        check = ParityCheck(manifest)
        for batch in (draw_synthetic_images(manifest.input_shape), *job.session.samples):
            worker.mark_progress()
            check.add(job.session.reference.infer(batch), engine.infer(batch))
        return check


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
