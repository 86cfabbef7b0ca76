"""How much this process grows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The highest growth of the resident set inside the block."""

    growth_bytes: int = 0


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@contextlib.contextmanager
def measure_peak() -> Iterator[Peak]:
    """Look at the resident set fifty times a second until the end of the block."""
    peak, over, begun = Peak(), threading.Event(), _resident_bytes()

    def look() -> None:
        while not over.wait(0.02):
            peak.growth_bytes = max(peak.growth_bytes, _resident_bytes() - begun)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
