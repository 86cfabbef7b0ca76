"""The GPU meter: how busy NVIDIA's GPUs are, and how full, as their driver's own tool tells."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable

ASKED_S = 10.0  # not more often
PATIENCE_S = 3.0
_MIB = 1 << 20
_COMMAND = [
    "nvidia-smi",
    "--query-gpu=utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
]


def ask_driver() -> str:
    """A line per GPU: load in percent, memory that is used and there is in all, in MiB."""
    if shutil.which(_COMMAND[0]) is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - these very words
            _COMMAND, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


class GpuMeter:
    """Remembers what was measured last, for whoever asks often.

    Args:
        ask: Asks the driver.
        clock: Monotonic seconds.
    """

    def __init__(
        self, ask: Callable[[], str] = ask_driver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._asked_s = float("-inf")
        self._figures: dict[str, float] = {}

    def measure(self) -> dict[str, float]:
        """Figures by name and unit; none where there is no GPU, or nobody can tell."""
        with self._lock:
            if self._clock() - self._asked_s >= ASKED_S:
                self._asked_s = self._clock()
                self._figures = parse_figures(self._ask())
            return dict(self._figures)


def parse_figures(answer: str) -> dict[str, float]:
    """The figures of an answer; what a GPU does not tell (``[N/A]``) is left out."""
    figures: dict[str, float] = {}
    for number, line in enumerate(filter(str.strip, answer.splitlines())):
        name = f"gpu{number or ''}"
        keys = ("load_ratio", 0.01), ("memory_used_bytes", _MIB), ("memory_total_bytes", _MIB)
        for (key, unit), word in zip(keys, line.split(","), strict=False):
            if word.strip().isdecimal():
                figures[f"{name}_{key}"] = int(word) * unit
    return figures
