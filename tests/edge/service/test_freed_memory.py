"""Memory that threads have freed goes back to the system."""

import ctypes
import os
import platform
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.service import freed_memory
from edge.service.freed_memory import EVERY_S, LOW_S, FreedMemory
from tests.support.running_daemon import Running, wait_until, write

BLOCK_BYTES, BLOCKS = 100_000, 500  # glibc maps larger ones apart, as long as nobody tells it more
ALL_MB = BLOCK_BYTES * BLOCKS / 1e6
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
LIBRARY = ctypes.CDLL(None)
LIBRARY.malloc.restype, LIBRARY.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
LIBRARY.free.argtypes = [ctypes.c_void_p]


COUNT_ARENAS = """
import ctypes, sys, threading
from pathlib import Path
from tests.support.running_daemon import Running, write
running = Running(write(Path(sys.argv[1]) / "edge.toml", {"a": ""}))
assert running.until(lambda states: states == {"a": "online"})
library = ctypes.CDLL(None)
meet = threading.Barrier(40)
def work():
    library.malloc(1000)
    meet.wait()  # so that each has an arena of its own if it can
threads = [threading.Thread(target=work) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library.fopen.restype, path = ctypes.c_void_p, str(Path(sys.argv[1]) / "arenas").encode()
file = ctypes.c_void_p(library.fopen(path, b"w"))
library.malloc_info(0, file)
library.fclose(file)
running.daemon.stop()
running.thread.join()
"""


def read_anonymous_mb():
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"^Anonymous:\s+(\d+)", text, re.M)[0]) / 1000


class Worker:
    """A thread that does what it is told, so that all of it is in one arena."""

    def __init__(self):
        self._tasks, self._done = queue.Queue(), queue.Queue()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        while task := self._tasks.get():
            self._done.put(task())

    def do(self, task):
        self._tasks.put(task)
        return self._done.get()

    def end(self):
        self._tasks.put(None)
        self._thread.join()


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.end()


def take():
    blocks = [LIBRARY.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    return blocks


def give(blocks):
    for block in blocks:
        LIBRARY.free(block)
    return True


def use_little():
    return give([LIBRARY.malloc(BLOCK_BYTES)])


@pytest.fixture
def pinned_mb(worker):
    """How much a thread has freed before a block that it still uses."""
    *blocks, last = worker.do(take)
    worker.do(lambda: give(blocks))
    yield ALL_MB
    worker.do(lambda: give([last]))


def test_what_is_freed_in_the_midst_is_given_back_once_a_minute(pinned_mb):
    now_s = [100.0]
    freed = FreedMemory(clock=lambda: now_s[0])
    before = read_anonymous_mb()
    now_s[0] += EVERY_S - 1
    freed.tick()
    assert read_anonymous_mb() > before - pinned_mb / 2
    now_s[0] += 1
    freed.tick()
    assert read_anonymous_mb() < before - 0.9 * pinned_mb


def check_what_is_freed_at_the_end():
    worker, now_s = Worker(), [100.0]
    freed = FreedMemory(clock=lambda: now_s[0])
    for wait_s in (EVERY_S, LOW_S):  # from then on a thread keeps what it needs again and again
        now_s[0] += wait_s
        freed.tick()
    for _ in range(2):
        blocks = worker.do(take)
        used = read_anonymous_mb()
        worker.do(lambda: give(blocks))  # noqa: B023 - done before the next one
        assert read_anonymous_mb() > used - 0.1 * ALL_MB
        now_s[0] += EVERY_S
        freed.tick()
        worker.do(use_little)
        assert read_anonymous_mb() < used - 0.9 * ALL_MB
        now_s[0] += LOW_S
        freed.tick()
    worker.end()


def test_what_is_freed_at_the_end_is_kept_for_a_minute_and_given_back_then():
    # in a process of its own: elsewhere an arena may have begun, and go on in a second piece
    module = "tests.edge.service.test_freed_memory"
    script = f"import {module} as tests; tests.check_what_is_freed_at_the_end()"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_node_gives_back_what_its_threads_have_freed(pinned_mb, tmp_path, monkeypatch):
    monkeypatch.setattr(freed_memory, "EVERY_S", 0.2)
    before = read_anonymous_mb()
    running = Running(write(tmp_path / "edge.toml", {"a": ""}))
    try:
        wait_until(lambda: read_anonymous_mb() < before - pinned_mb / 2)
    finally:
        running.daemon.stop()
        running.thread.join()
    assert running.error is None


def test_threads_of_a_node_share_an_arena_a_core(tmp_path):
    subprocess.run([sys.executable, "-c", COUNT_ARENAS, str(tmp_path)], check=True)
    arenas = (tmp_path / "arenas").read_text().count("<heap nr=")
    assert 1 <= arenas <= len(os.sched_getaffinity(0))
