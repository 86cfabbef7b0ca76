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
from collections.abc import Callable, Collection, Iterator, Sequence
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

LOG_EVERY_S = 10.0  # during a build
NICE = 10
FRAMES_S = 3.0  # how long an engine that is there at once waits for real frames to be tried on

Report = Callable[[str, float], None]  # task, value


@dataclass(slots=True)
class Job:
    """A model that is to get an engine.

    Attributes:
        name: Path of the model.
        model: Bytes of its file; empty once the engine runs.
        session: Its session, which runs on ONNX Runtime first.
        task: Task in its manifest, of a classifier with its name; empty when it has none.
        sha256: Of the file, in hex.
    """

    name: str
    model: bytes
    session: SwappableSession
    task: str
    sha256: str


class EngineManager:
    """A runtime that runs models on ONNX Runtime until their engines are ready.

    Attributes:
        building: Called with a model's task and for how long its engine has been building.
        using: Called with a model's task and 1 or 0: whether an engine runs it.
    """

    def __init__(
        self, runtime: EngineRuntime, reference: Runtime, log_every_s: float = LOG_EVERY_S
    ) -> None:
        self.building: Report = lambda _task, _took_s: None
        self.using: Report = lambda _task, _used: None
        self._runtime, self._reference, self._log_every_s = runtime, reference, log_every_s
        self._jobs: list[Job] = []

    @property
    def workers(self) -> int:
        """The number that suits the engines."""
        return self._runtime.workers

    def load(self, model: bytes, name: str) -> SwappableSession:
        """Load a model into ONNX Runtime; its engine follows.

        Raises:
            ModelError: The bytes are not a model.
        """
        session = SwappableSession(self._reference.load(model, name), name)
        try:
            manifest = Manifest.model_validate_json(session.metadata[KEY])
            is_one_of_many = manifest.task == "classify"
            task = f"classify:{manifest.name}" if is_one_of_many else str(manifest.task)
        except (KeyError, ValueError):
            task = ""  # the caller will refuse the model
        self._jobs.append(Job(name, model, session, task, sha256(model).hexdigest()))
        return session

    def renew(self) -> EngineManager:
        """A manager of other models on the same runtime; it has none yet."""
        return EngineManager(self._runtime, self._reference, self._log_every_s)

    def prepare(self, worker: Worker) -> None:
        """Load the engines of its models where nothing else may run them, building those missing.

        Raises:
            EngineError: One cannot be had, or is refused.
            GpuMemoryError: It does not fit beside those that run.
        """
        for job in self._jobs if self._runtime.waits else ():
            self._equip(job, worker)

    def take_over(self, former: EngineManager, kept: Collection[str]) -> None:
        """Look after those of its models as well that run on, by their hashes."""
        self._jobs = [*(job for job in former._jobs if job.sha256 in kept), *self._jobs]

    def dismiss(self, former: EngineManager) -> None:
        """Free the engines of those that were not taken over, since nothing runs them any more."""
        for job in former._jobs:
            if job not in self._jobs:
                job.session.remove()

    @property
    def is_ready(self) -> bool:
        """Whether the models may run."""
        return not self._runtime.waits or all(job.session.has_engine for job in self._jobs)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Models whose engine cannot be loaded now, and why."""
        for job in self._jobs:
            try:
                self._runtime.load(job.model, job.name).close()
            except (EngineError, GpuMemoryError) as error:  # built when it runs, or built smaller
                yield job.name, str(error)

    def run(self, worker: Worker) -> None:
        """Load the engine of one model after the other, building those that are missing.

        Raises:
            GpuLostError: This process cannot use the GPU any more.
            EngineError: An engine failed, and nothing else may run its model.
        """
        for job in self._jobs:
            self.using(job.task, job.session.has_engine)
        waiting = [job for job in self._jobs if job.model]
        for job in waiting:
            job.session.samples = []  # so far the black pictures that models are checked with
        for job in waiting:
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
        while not worker.stop.wait(1):  # engines may fail
            worker.mark_progress()
            for job in self._jobs:
                self.using(job.task, job.session.has_engine)
                if self._runtime.waits and not (job.model or job.session.has_engine):
                    raise EngineError(f"{job.name}: its engine failed, and it may run nowhere else")

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
        if worker.stop.is_set():  # another one may look after the model by now
            engine.close()
            return
        job.session.install(engine, check if check.rows < TRIAL_ROWS else None)
        job.model = b""
        self.using(job.task, 1)
        log.info("%s: runs on its engine, %d results agree so far", job.name, check.rows)

    def _load_or_build(self, job: Job, worker: Worker) -> Session | None:
        """The engine of a model; None when the worker was stopped.

        Raises:
            EngineError: It cannot be built, or not be loaded once it was built.
            GpuMemoryError: Not even an engine of the smallest batch fits.
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
                except OSError as failed:  # the disk is full, or no process can be started
                    raise EngineError(f"its builder cannot be run: {failed}") from failed
                built = True
        return None

    def _build(self, job: Job, worker: Worker) -> None:
        """Run the builder and wait, reporting how long it takes.

        Raises:
            EngineError: It failed or took too long; with the last line of its output.
        """
        command = self._runtime.build_command(job.name, job.sha256)
        with tempfile.TemporaryFile() as output:
            with _niced(command, output) as child:
                started_s = logged_s = time.monotonic()
                while child.poll() is None and not worker.stop.wait(0.1):
                    worker.mark_progress()
                    took_s = time.monotonic() - started_s
                    self.building(job.task, took_s)
                    if time.monotonic() - logged_s >= self._log_every_s:
                        logged_s = time.monotonic()
                        line = _read_last_line(output)
                        log.info("%s: building its engine for %.0f s: %s", job.name, took_s, line)
                    if took_s > self._runtime.build_timeout_s:
                        raise EngineError(f"its engine was not built in {took_s:.0f} s")
            if child.returncode and not worker.stop.is_set():
                raise EngineError(f"its engine cannot be built: {_read_last_line(output)}")
        self.building(job.task, time.monotonic() - started_s)

    def _compare(self, job: Job, engine: Session, worker: Worker) -> ParityCheck:
        """Compare the engine with ONNX Runtime on synthetic images and on frames of the cameras."""
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


def _read_last_line(output: IO[bytes]) -> str:
    """The last line that a child wrote, read without moving the position at which it writes."""
    size_bytes = os.fstat(output.fileno()).st_size
    tail = os.pread(output.fileno(), 4096, max(size_bytes - 4096, 0)).decode(errors="replace")
    lines = tail.strip().splitlines()
    return lines[-1].strip() if lines else "no output"
