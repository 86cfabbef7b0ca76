"""A node as a process of its own: started, asked, stopped."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time

from tests.support.faulty_camera import faulty_camera

CONFIG = """
[models]
detector = "zoo:detect-nano"
{cameras}
[[cameras]]
name = "good"
fps = 10
source = {{ kind = "synthetic" }}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
[http]
port = 0
"""


@contextlib.contextmanager
def running_node(folder, cameras="", environ=()):
    """A node that is ready: its process and its HTTP port."""
    path, log = folder / "edge.toml", folder / "log"
    path.write_text(CONFIG.format(cameras=cameras))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", str(path)],
            stderr=output,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(environ),
        )
    try:
        deadline_s = time.monotonic() + 60
        while not (
            found := re.search(r"ready: .*http port (\d+)", log.read_text(errors="replace"))
        ):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline_s, log.read_text(errors="replace")
            time.sleep(0.05)
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()


def read_bus_port(log, patience_s=10):
    """The port of a node's ZeroMQ sink, which opens in a thread of its own."""
    deadline_s = time.monotonic() + patience_s
    while not (
        found := re.search(r"subscribers connect to tcp://127\.0\.0\.1:(\d+)", log.read_text())
    ):
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.02)
    return int(found[1])


def stop_once(fault, folder, wait_s=3.0, count=3):
    """The exit status and the seconds from SIGTERM to the end, with ``count`` faulty cameras."""
    with faulty_camera(fault, folder) as source:
        cameras = "\n".join(
            f'[[cameras]]\nname = "bad-{number}"\nsource = {source}' for number in range(count)
        )
        with running_node(folder, cameras) as (process, _):
            time.sleep(random.uniform(0.1, wait_s))
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            return process.wait(30), time.monotonic() - began_s
