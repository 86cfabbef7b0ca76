"""Ctrl-C: an interrupted command ends quietly, with the status that a shell gives it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # 128 + SIGINT


@contextmanager
def exit_if_interrupted() -> Iterator[None]:
    """Ctrl-C in the block ends the process at once: for imports, where nothing is open yet.

    A library being imported may turn `KeyboardInterrupt` into an error of its own. Nothing changes
    where Ctrl-C is ignored or already handled, nor in a thread beside the main one.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def quiet_interrupt() -> Iterator[None]:
    """Ctrl-C in the block ends the process without a traceback, as soon as it is raised."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Children started in the block never see Ctrl-C; their parent sees it when the block ends.

    A child inherits which signals are blocked. Ignoring SIGINT instead would lose one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
