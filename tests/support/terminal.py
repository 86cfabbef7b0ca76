"""A command on a terminal of its own: what it shows, and answers typed into it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CTRL_C, END = b"\x03", b"\x04"
PATIENCE_S = 60
# Ctrl-C and hidden answers need the terminal to be the one that controls the process.
PROGRAM = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from edge.__main__ import main
main()
"""


@dataclass
class Terminal:
    """A running command.

    Attributes:
        shown: All that it has shown so far.
        code: Its exit status, after `wait`.
    """

    process: subprocess.Popen
    descriptor: int
    shown: str = ""
    code: int | None = None

    def expect(self, text: str) -> None:
        """Wait until it shows a text that it had not shown when it was expected last."""
        ends_s, begin = time.monotonic() + PATIENCE_S, getattr(self, "_seen", 0)
        while text not in self.shown[begin:]:
            if time.monotonic() > ends_s or not self._read():
                raise AssertionError(f"{text!r} was not shown in {self.shown[begin:]!r}")
        self._seen = self.shown.index(text, begin) + len(text)

    def type(self, answer: str | bytes) -> None:
        """Type an answer and Enter, or single keys given as bytes."""
        keys = answer if isinstance(answer, bytes) else f"{answer}\n".encode()
        os.write(self.descriptor, keys)

    def answer(self, question: str, answer: str | bytes) -> None:
        """Wait for a question and answer it."""
        self.expect(question)
        self.type(answer)

    def interrupt(self) -> int:
        """Type Ctrl-C until it ends; the exit status.

        Once is not enough where Python has shown a question and does not read the answer yet.
        """
        ends_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < ends_s:
            self.type(CTRL_C)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        return self.wait()

    def wait(self) -> int:
        """Read to the end; the exit status."""
        while self._read():
            pass
        self.code = self.process.wait(PATIENCE_S)
        return self.code

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], PATIENCE_S)[0]:
            raise AssertionError(f"nothing more is shown after {self.shown!r}")
        try:
            data = os.read(self.descriptor, 4096)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def terminal(arguments: Sequence[str], folder: Path) -> Iterator[Terminal]:
    """Run `edge` with arguments in a folder."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
