"""A node that records real RTSP streams whose pictures carry numbers."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.client import Received, Subscriber
from tests.support.node import read_bus_port

CONFIG = """
[models]
detector = "zoo:detect-nano"
[storage]
folder = "{folder}"
min_free_bytes = 0
max_bytes = {max_bytes}
{cameras}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
[http]
port = 0
max_viewers = 256
"""
CAMERA = """
[[cameras]]
name = "{name}"
source = {{ kind = "rtsp", url = "{sub}" }}
main = {{ kind = "rtsp", url = "{main}" }}
fps = 5
jpeg_hz = 30
[[cameras.events]]
when = ["began"]
[cameras.record]
continuous = true
pre_s = {pre_s}
post_s = {post_s}
"""


@dataclass(slots=True)
class RecordingNode:
    """A node that runs, or the folder of one that was killed."""

    folder: Path
    process: subprocess.Popen
    http: int
    port: int

    @property
    def log(self):
        """What it has said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def ask(self, path):
        """The answer to a GET, as text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return answer.read().decode()

    def health(self):
        """What the API says of the node."""
        return json.loads(self.ask("/api/v1/health"))

    def metric(self, name):
        """A metric without labels."""
        [value] = re.findall(rf"^{name} (\S+)$", self.ask("/metrics"), re.M)
        return float(value)

    def listen(self, *topics):
        """A subscriber to it."""
        return Subscriber(f"tcp://127.0.0.1:{self.port}", topics, gaps=False)


@contextlib.contextmanager
def recording_node(folder, cameras, kept="kept", max_bytes=10**9):
    """Start a node and wait until it is ready."""
    text = CONFIG.format(folder=kept, max_bytes=max_bytes, cameras=cameras)
    (folder / "edge.toml").write_text(text)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "edge.toml"], cwd=folder, stderr=output
        )
    try:
        deadline_s = time.monotonic() + 60
        while not (http := re.search(r"ready: .*http port (\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        bus = read_bus_port(log)
        yield RecordingNode(folder, process, int(http[1]), bus)
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True)
class Heard:
    """What a subscriber hears of detection.

    Attributes:
        ages_s: From capture to reception.
        per_s: Messages a second.
    """

    ages_s: np.ndarray
    per_s: float

    @property
    def p99_ms(self):
        """The 99th percentile of the ages."""
        return float(np.percentile(self.ages_s, 99)) * 1000


def hear(subscriber, seconds, each=lambda: None):
    """Listen to detections for some seconds."""
    ages, until_s = [], time.monotonic() + seconds
    while time.monotonic() < until_s:
        each()
        item = subscriber.receive(0.05)
        if isinstance(item, Received) and not item.repeat:
            ages.append(time.time() - item.body.captured_at)
    return Heard(np.array(ages), len(ages) / seconds)


def read_rows(folder, statement):
    """What the index of a storage folder answers; nothing while it is made."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/index.db?mode=ro", uri=True)) as index:
        if not index.execute("SELECT * FROM sqlite_schema").fetchall():
            return []
        return index.execute(statement).fetchall()
