"""Starts a node, stops it, and tells how it ended."""

import os
import random
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


def stop_once(fault, folder, wait_s=3.0, count=3):
    """The exit status and the seconds from SIGTERM to the end, with ``count`` faulty cameras."""
    with faulty_camera(fault, folder) as source:
        cameras = "\n".join(
            f'[[cameras]]\nname = "bad-{number}"\nsource = {source}' for number in range(count)
        )
        path = folder / "edge.toml"
        path.write_text(CONFIG.format(cameras=cameras))
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge", "run", str(path)],
                stderr=output,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        try:
            deadline_s = time.monotonic() + 60
            while "ready: " not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline_s, log.read_text(errors="replace")
                time.sleep(0.05)
            time.sleep(random.uniform(0.1, wait_s))
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            return process.wait(30), time.monotonic() - began_s
        finally:
            process.kill()
            process.wait()
