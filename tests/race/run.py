"""A run of one contender over the course."""

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.quiet_street import measure_cpu
from tests.race.contenders import Contender, Seen
from tests.race.course import open_course, read_sent

START_TIMEOUT_S, STOP_TIMEOUT_S = 90.0, 15.0


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        frames: Pictures of which the contender told.
        peopled: Those of them in which it saw somebody.
        ages_s: Of each picture, from being sent to being told of.
    """

    seconds: float
    frames: int
    peopled: int
    cpu_s: float
    peak_bytes: int
    ages_s: tuple[float, ...]

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a picture."""
        return 1e3 * self.cpu_s / max(self.frames, 1)

    def age_ms(self, percent: float) -> float:
        """A percentile of the ages, in milliseconds."""
        return 1e3 * float(np.percentile(self.ages_s, percent)) if self.ages_s else float("nan")


def measure(contender: Contender, film: Path, settle_s: float, seconds: float) -> Run:
    """Let a contender run, and measure once it has settled.

    Raises:
        RuntimeError: It ended, or told nothing.
    """
    with tempfile.TemporaryDirectory() as place, open_course(film) as (server, sent):
        folder = Path(place)
        endpoint = f"ipc://{folder}/bus"
        command = contender.command(folder, server.url, endpoint)
        with (folder / "log").open("w+b") as log, _started(command, log) as process:
            try:
                return _watch(process, contender.listen(endpoint), sent, settle_s, seconds)
            except RuntimeError as error:
                log.seek(0)
                said = log.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"{contender.name} {error}; it says:\n{said}") from error


@contextlib.contextmanager
def _started(command: list[str], log) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _watch(
    process: subprocess.Popen, told: Iterator[Seen], sent: Path, settle_s: float, seconds: float
) -> Run:
    _wait_for_first(process, told)
    begins_s = time.monotonic() + settle_s
    for _ in told:
        if time.monotonic() >= begins_s:
            break
    begin_s, begin_cpu_s = time.monotonic(), measure_cpu(process)
    heard: list[tuple[int, float]] = []
    peopled = 0
    for seen in told:
        now_s = time.monotonic()
        if seen is not None:
            heard.append((seen[0], now_s))
            peopled += seen[1]
        if now_s >= begin_s + seconds:
            break
    if process.poll() is not None:
        raise RuntimeError(f"ended with status {process.returncode}")
    took_s, cpu_s = time.monotonic() - begin_s, measure_cpu(process) - begin_cpu_s
    times = read_sent(sent)
    ages_s = tuple(now_s - times[number] for number, now_s in heard)
    return Run(took_s, len(heard), peopled, cpu_s, _measure_peak(process), ages_s)


def _wait_for_first(process: subprocess.Popen, told: Iterator[Seen]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    for seen in told:
        if seen is not None:
            return
        if process.poll() is not None:
            raise RuntimeError(f"ended with status {process.returncode}")
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"told nothing for {START_TIMEOUT_S:.0f} s")


def _measure_peak(process: subprocess.Popen) -> int:
    """Peak resident memory, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
