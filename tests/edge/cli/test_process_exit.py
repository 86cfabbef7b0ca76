"""The end of a process whose thread hangs in a library."""

import subprocess
import sys

import pytest

LEAVE = """
import sys, threading
from edge.cli.process_exit import leave_threads_behind
thread = threading.Thread(target=threading.Event().wait, args=(60,), daemon={daemon})
{start}
with leave_threads_behind():
    print("said", end="")
    {end}
"""


@pytest.mark.parametrize("start", ["thread.start()", ""], ids=["hanging", "no thread"])
@pytest.mark.parametrize(
    ("end", "code"), [("raise SystemExit(78)", 78), ("raise SystemExit", 0), ("pass", 0)]
)
def test_the_status_and_what_was_said_survive(start, end, code):
    program = LEAVE.format(daemon=True, start=start, end=end)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "said", "")


def test_a_thread_that_python_would_wait_for_is_left_behind_too():
    program = LEAVE.format(daemon=False, start="thread.start()", end="raise SystemExit('why')")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (1, "why\n")
