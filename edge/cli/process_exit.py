"""Leaving the process while a thread may hang in a library.

FFmpeg calls back into Python from a camera that never answers. When the interpreter is already
gone, that is a segmentation fault, and its core holds passwords. So a process that still has such
a thread ends without taking the interpreter down.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def leave_threads_behind() -> Iterator[None]:
    """End the process at the end of the block, at once if threads are left.

    `SystemExit` passes through when none is left.
    """
    try:
        yield
    except SystemExit as exit_:
        _end_if_threads_are_left(_parse_code(exit_))
        raise
    _end_if_threads_are_left(0)


def stop_before_start() -> threading.Event:
    """SIGTERM and SIGINT end the process with 0 from now on, until others handle them.

    Returns:
        Set by SIGHUP, which would end the process as well.
    """
    reload = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - of signal
        os._exit(0)  # nothing is open yet; an exception could be lost in a library

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    return reload


def _parse_code(exit_: SystemExit) -> int:
    if isinstance(exit_.code, str):
        sys.stderr.write(f"{exit_.code}\n")
        return 1
    return int(exit_.code or 0)


def _end_if_threads_are_left(code: int) -> None:
    if all(thread is threading.main_thread() for thread in threading.enumerate()):
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader is gone
            continue
    os._exit(code)
