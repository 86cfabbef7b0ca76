"""What the node uses: memory, threads, descriptors, CPU and disk, looked at every few seconds."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.compat import Self
from tests.support.kept_files import measure_folder

EVERY_S = 5.0
_ROLLUP = re.compile(r"^(Rss|Pss|Anonymous):\s+(\d+) kB$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used at a moment.

    Attributes:
        at_s: The moment, in seconds of the run.
        anonymous_bytes: Of its memory, what is no page of a file.
        cpu_s: CPU time since it began.
        disk_bytes: What its folder takes.
        waiting: Messages that wait in its spool.
    """

    at_s: float
    resident_bytes: int
    proportional_bytes: int
    anonymous_bytes: int
    threads: int
    files: int
    cpu_s: float
    disk_bytes: int
    waiting: int


def measure(pid: int, folder: Path, at_s: float, waiting: int) -> Usage:
    """Look at a process.

    Raises:
        OSError: It has ended.
    """
    process = Path(f"/proc/{pid}")
    sizes = dict(_ROLLUP.findall((process / "smaps_rollup").read_text()))
    fields = (process / "stat").read_text().rpartition(")")[2].split()  # from the state on
    return Usage(
        at_s,
        *(1024 * int(sizes[name]) for name in ("Rss", "Pss", "Anonymous")),
        threads=int(fields[17]),
        files=sum(1 for _ in (process / "fd").iterdir()),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        disk_bytes=measure_folder(folder),
        waiting=waiting,
    )


class Watch:
    """Looks at a process every few seconds, in a thread.

    Args:
        pid: The process.
        folder: Its folder.
        count_waiting: How many messages wait in its spool.

    Attributes:
        usages: What was seen.
    """

    def __init__(self, pid: int, folder: Path, count_waiting: Callable[[], int]) -> None:
        self.usages: list[Usage] = []
        self._pid, self._folder, self._count_waiting = pid, folder, count_waiting
        self._over = threading.Event()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._look, name="watch")

    @property
    def lasts_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            waiting = self._count_waiting()
            try:
                self.usages.append(measure(self._pid, self._folder, self.lasts_s, waiting))
            except OSError:  # it has ended, which is noticed elsewhere
                return


def pick_lowest(usages: list[Usage], since_s: float, name: str) -> Iterator[tuple[float, float]]:
    """The lowest of each whole minute, in hours and as it is: what comes and goes is no growth."""
    minutes: dict[int, list[float]] = {}
    for usage in usages:
        if usage.at_s >= since_s:
            minutes.setdefault(int(usage.at_s // 60), []).append(getattr(usage, name))
    for minute, values in minutes.items():
        yield (minute + 0.5) / 60, min(values)
