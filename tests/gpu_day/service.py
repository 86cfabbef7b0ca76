"""End to end: `edge run` with many synthetic 1080p cameras, and a subscriber that takes everything.

The share is what the daemon publishes of what its session can do on full batches without it. It
says something about the daemon only where the cameras offer more than is published, and about the
card only where cores are left.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from edge import plugins
from edge.client import Received, Subscriber
from edge.errors import ConfigError
from edge.wire.schema import DetectionsMessage
from tests.gpu_day.day import ZOO

MODEL = ZOO / "detect-nano.onnx"
CAMERA = "tests.gpu_day.cameras:Options"
BATCH = 16  # the largest of an engine by default
WARM = 5  # frames of each camera before anything counts
START_S = 40
STOP_S = 15


def measure(day):
    cameras, size_wh = (2, (320, 180)) if day.is_quick else (32, (1920, 1080))
    cores = len(os.sched_getaffinity(0))
    name, table, workers = choose_runtime(day)
    label = f"detect-nano fp32, {name}"
    for fps in (10, 30) if day.is_quick else (10, 30, 60):
        what = f"{label}, {cameras} cameras at {fps} fps"
        seconds = 2 if day.is_quick else 12
        raw_fps = measure_raw(day, table, workers)  # each time, should the machine get slower
        raw = f"{what}, raw before, batch {BATCH}, {workers} threads"
        day.results.measured(raw, raw_fps, "pictures/s")
        camera = day.camera(size_wh, kind=CAMERA, fps=fps, noise=0)
        with run_daemon(day, table, camera, cameras) as daemon:
            found = listen(daemon, cameras, seconds)
        if isinstance(found, str):
            day.results.failed(what, found)
            continue
        day.results.measured(f"{what}, published", found.fps, f"frames/s of {cameras * fps}")
        note = "the cameras offer no more" if found.fps > 0.95 * cameras * fps else ""
        day.results.measured(f"{what}, share of raw", 100 * found.fps / raw_fps, "%", note)
        for percent in (50, 99):
            age_ms = float(np.percentile(found.ages_s, percent)) * 1e3
            day.results.measured(f"{what}, age p{percent}", age_ms, "ms")
        day.results.measured(f"{what}, slowest camera", found.slowest, "of an equal share")
        day.results.measured(f"{what}, cores in use", found.cores, f"of {cores}")


def choose_runtime(day):
    """Name, table and workers of the first runtime that runs the model on this card.

    Raises:
        ConfigError: None does.
    """
    for name, table in day.runtimes().items():
        with day.attempt(name):
            runtime = day.open_runtime(name)
            runtime.load(MODEL.read_bytes(), str(MODEL)).close()
            return name, table, runtime.workers
    raise ConfigError("no runtime uses a card here")


def measure_raw(day, table, workers):
    """Pictures per second of a session that all of a daemon's workers keep busy."""
    with closing(plugins.create("runtimes", table).load(MODEL.read_bytes(), str(MODEL))) as session:
        width, height = json.loads(session.metadata["edge.manifest"])["input_wh"]
        batch = np.random.default_rng(0).integers(0, 256, (BATCH, height, width, 3), np.uint8)

        def work(_):
            done = 0
            while time.perf_counter() < end_s:
                session.infer(batch)
                done += BATCH
            return done

        for _ in range(3):
            session.infer(batch)
        started_s = time.perf_counter()
        end_s = started_s + 2 * day.seconds
        with ThreadPoolExecutor(workers) as pool:
            done = sum(pool.map(work, range(workers)))
        return done / (time.perf_counter() - started_s)


class Daemon:
    """A running `edge run`, and where it publishes and logs."""

    def __init__(self, process, endpoint, log):
        self.process, self.endpoint, self._log = process, endpoint, log

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def last_words(self):
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def run_daemon(day, table, camera, cameras):
    with tempfile.TemporaryDirectory(dir=day.work) as folder:
        endpoint, log = f"ipc://{folder}/bus", Path(folder, "log")
        configuration = Path(folder, "day.toml")
        configuration.write_text(write_toml(table, camera, cameras, endpoint), encoding="utf-8")
        command = [sys.executable, "-m", "edge", "run", str(configuration)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield Daemon(process, endpoint, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def write_toml(table, camera, cameras, endpoint):
    """A configuration: JSON's strings, numbers and lists are TOML's as well."""
    source = ", ".join(f"{key} = {json.dumps(value)}" for key, value in camera.items())
    lines = [
        "[models]", f"detector = {json.dumps(str(MODEL))}",
        "[runtime]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
        "[http]", "port = 0",
        "[log]", 'level = "warning"',
        "[[sinks]]", 'kind = "zeromq"', f"bind = {json.dumps(endpoint)}",
    ]  # fmt: skip
    for n in range(cameras):
        own = f"{source}, seed = {n}"
        lines += ["[[cameras]]", f'name = "camera-{n}"', f"fps = {camera['fps']}"]
        lines += ["frozen_after_s = 0", f"source = {{ {own} }}"]
    return "\n".join(lines) + "\n"


class Found:
    """What a subscriber received in a time."""

    def __init__(self, cameras):
        self._cameras, self.counts = cameras, Counter()
        self.ages_s = []

    def add(self, message):
        self.counts[message.camera] += 1
        self.ages_s.append(message.age_s)

    def is_warm(self):
        return len(self.counts) == self._cameras and min(self.counts.values()) >= WARM

    def close(self, wall_s, cpu_s):
        self.fps, self.cores = len(self.ages_s) / wall_s, cpu_s / wall_s
        slowest = min(self.counts.values()) if len(self.counts) == self._cameras else 0
        self.slowest = slowest * self._cameras / max(len(self.ages_s), 1)


def listen(daemon, cameras, seconds):
    """What came in the seconds after all cameras were there, or why they were not."""
    with Subscriber(daemon.endpoint, ("v1/detections/",), gaps=False, rcvhwm=100_000) as bus:
        warm = Found(cameras)
        if not collect(bus, warm, START_S, lambda: warm.is_warm() or daemon.process.poll()):
            there = len(warm.counts)
            return f"{there} of {cameras} cameras in {START_S} s: {daemon.last_words()}"
        if daemon.process.poll() is not None:
            return f"edge run ended with {daemon.process.returncode}: {daemon.last_words()}"
        found, started_s, before_s = Found(cameras), time.perf_counter(), daemon.cpu_s()
        collect(bus, found, seconds, lambda: False)
        if not found.ages_s:
            return f"no frame was published in {seconds} s: {daemon.last_words()}"
        found.close(time.perf_counter() - started_s, daemon.cpu_s() - before_s)
        return found


def collect(bus, found, seconds, is_done):
    """Add messages until ``is_done``, at most for ``seconds``; whether it was."""
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s and not is_done():
        item = bus.receive(0.1)
        if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
            found.add(item.body)
    return bool(is_done())
