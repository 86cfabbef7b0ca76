"""A small disk: a tmpfs that is mounted for a test, where that is allowed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time

import pytest

from tests.support.kept_files import measure_folder


@contextlib.contextmanager
def small_disk(folder, size_bytes):
    """A disk of some bytes at a folder; skips where it cannot be mounted."""
    folder.mkdir()
    options = f"size={size_bytes}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False,
        capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(folder):
    """Another file takes all that is free, and what becomes free while it is there."""
    path, stop = folder / "another", threading.Event()

    def fill():
        with path.open("wb", buffering=0) as file:
            while not stop.is_set():
                try:
                    file.write(bytes(1 << 16))
                except OSError:
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), 0, file.tell() + 4096)
                    stop.wait(0.02)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        path.unlink()


class Scale:
    """Measures a folder all the time.

    Attributes:
        most: The most bytes that it had.
    """

    def __init__(self, folder):
        self.most = 0
        self.count = 0
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.02):
            self.most = max(self.most, measure_folder(self._folder))
            self.count += 1


def wait_until(condition, limit_s=40):
    """Seconds until a condition holds."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < limit_s
        time.sleep(0.1)
    return time.monotonic() - began_s
