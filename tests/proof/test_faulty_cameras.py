"""What a node does with a camera at fault, and what its neighbours notice of it; `make proof`.

A whole node has four cameras, of which one has the fault: a password is in its address. Prints what
was measured, a line a fault. All of it takes about a quarter of an hour.
"""

import contextlib
import gc
import json
import random
import re
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zmq

from edge.errors import SourceError
from edge.sources.rtsp import Options, RtspCamera
from tests.support.faulty_camera import faulty_camera
from tests.support.film_faults import ANSWERS, FILMS, film_fault
from tests.support.node import read_bus_port, running_node

pytestmark = pytest.mark.proof
PASSWORD = "tr0ub4dor-7"
LOGIN = f"viewer:{PASSWORD}@"
WINDOW_S = 5.0
RATE_S = 15.0  # for the neighbours' frames: of 150 one more or less does not matter
MAX_GROWTH_BYTES, MAX_NEW_THREADS, MAX_NEW_FILES = 10e6, 1, 2
RETRY_S = 4.0
CAMERAS, ROUNDS = 17, 3  # 51 silences; a fourth one in a row would be a flap
RECONNECTS, MAX_RECONNECT_BYTES = 1000, 5e6
CAMERA = """
[[cameras]]
name = "{name}"
fps = {fps}
frozen_after_s = 5
source = {source}
"""


@dataclass(frozen=True)
class Expected:
    """How a fault shows.

    Attributes:
        code: The reason code that it leads to.
        says: What its line in the log contains.
        metric: Which metric of the camera tells it.
        low: From what on the metric does.
        high: Up to what.
        lines: The most lines that contain ``says``.
    """

    code: str
    says: str
    metric: str = "edge_camera_up"
    low: float = 0
    high: float = 0
    lines: int = 1


def fails(says, **rest):
    """The camera is offline."""
    return Expected("source_failed", says, **rest)


DELIVERS = Expected("delivers", "delivers", low=1, high=1)
BROKEN = {"metric": "edge_camera_flaps_total", "low": 1, "high": 4, "lines": 4}
DAMAGED = Expected("damaged_stream", "is damaged", "edge_camera_damaged_total", 10, 1e9)
FAULTS = {
    "healthy": DELIVERS,
    "refuse": fails("Connection refused"),
    "mute": fails("open_timeout_s"),
    "drip": fails("open_timeout_s"),
    "stall": fails("open_timeout_s"),
    "silence": fails("read_timeout_s", **BROKEN),
    "reset": fails("hung up without an answer"),
    "reset_while_playing": fails("ended the stream", **BROKEN),
    "401": Expected("access_denied", "refused the login"),
    "403": Expected("access_denied", "refused the login"),
    "404": fails("404 Not Found"),
    "redirect": fails("open_timeout_s"),
    "garbage_units": DAMAGED,
    "truncated_units": DAMAGED,
    "new_size": fails("picture size changed", **BROKEN),
    "new_codec": fails("read_timeout_s", **BROKEN),
    "new_rate": DELIVERS,
    "jumping_stamps": DELIVERS,
    "frozen_stamps": DELIVERS,
    "frozen_picture": Expected("frozen_picture", "the same picture", "edge_camera_blind", 1, 1),
    "black": Expected("black_picture", "the picture is black", "edge_camera_blind", 1, 1),
    "flap": Expected("flapping", "flaps:", "edge_camera_flaps_total", 4, 1e9),
    "burst": DELIVERS,
}


class Wire:
    """All that a node sends, as it comes.

    Attributes:
        messages: When, on the monotonic clock, topic and payload.
    """

    def __init__(self, port):
        self._port, self._over = port, threading.Event()
        self.messages = []

    def __enter__(self):
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _receive(self):
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger, socket.rcvhwm = 0, 0
            socket.subscribe(b"")
            socket.connect(f"tcp://127.0.0.1:{self._port}")
            while not self._over.is_set():
                if socket.poll(100):
                    topic, *parts = socket.recv_multipart()
                    self.messages.append((time.monotonic(), topic.decode(), b"".join(parts)))

    def statuses(self, camera, since_s=0.0):
        """The moments and reason codes of a camera's states."""
        topic = f"v1/status/{camera}/"
        found = [(at_s, part) for at_s, name, part in list(self.messages) if name == topic]
        return [(at_s, json.loads(part)["reason_code"]) for at_s, part in found if at_s > since_s]

    def wait_for(self, camera, is_wanted, since_s, within_s):
        """When the first state came of which ``is_wanted`` holds."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            for at_s, code in self.statuses(camera, since_s):
                if is_wanted(code):
                    return at_s
            time.sleep(0.02)
        raise AssertionError(f"{camera}: {self.statuses(camera)}")


@dataclass(frozen=True)
class Usage:
    """What a process has at most within half a second."""

    resident_bytes: int
    threads: int
    files: int

    @classmethod
    def measure(cls, pid):
        """Look ten times."""
        seen = []
        for _ in range(10):
            status = Path(f"/proc/{pid}/status").read_text()
            seen.append((
                1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0]),
                int(re.findall(r"Threads:\s+(\d+)", status)[0]),
                len(list(Path(f"/proc/{pid}/fd").iterdir())),
            ))  # fmt: skip
            time.sleep(0.05)
        return cls(*map(max, zip(*seen, strict=True)))


def ask_metrics(http):
    """What /metrics answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as answer:
        return answer.read().decode()


def read_metric(text, name, camera):
    """A metric of a camera."""
    return float(re.findall(rf'^{name}{{camera="{camera}"}} (\S+)$', text, re.M)[0])


@contextlib.contextmanager
def watched_node(folder, sources, fps):
    """A node with these cameras and a synthetic one: process, HTTP port and wire."""
    cameras = "".join(
        CAMERA.format(name=name, source=source, fps=fps) for name, source in sources.items()
    )
    with (
        running_node(folder, cameras) as (process, http),
        Wire(read_bus_port(folder / "log")) as wire,
    ):
        yield process, http, wire


def to_source(url):
    """The table of an RTSP camera."""
    return f'{{ kind = "rtsp", url = "{url}" }}'


@contextlib.contextmanager
def camera_at_fault(fault, folder):
    """The source table of a camera."""
    if fault in ANSWERS or fault in FILMS:
        with film_fault(fault, LOGIN.rstrip("@")) as (url, _):
            yield to_source(url)
    else:
        with faulty_camera(fault, folder, LOGIN) as source:
            yield source


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_harms_no_neighbour(fault, tmp_path, keep):
    expected = FAULTS[fault]
    with contextlib.ExitStack() as stack:
        url_a, a = stack.enter_context(film_fault("healthy"))
        url_b, b = stack.enter_context(film_fault("healthy"))
        bad = stack.enter_context(camera_at_fault(fault, tmp_path))
        sources = {"a": to_source(url_a), "b": to_source(url_b), "bad": bad}
        process, http, wire = stack.enter_context(watched_node(tmp_path, sources, fps=5))
        told_s = wire.wait_for("bad", lambda code: code == expected.code, 0, 25)
        for name in ("a", "b", "good"):
            wire.wait_for(name, lambda code: code == "delivers", 0, 10)
        before, began_s = Usage.measure(process.pid), time.monotonic()
        text, sent = ask_metrics(http), (a.sent, b.sent)
        looked_s = time.monotonic()
        time.sleep(WINDOW_S)
        later, lines = ask_metrics(http), (tmp_path / "log").read_text().splitlines()
        after = Usage.measure(process.pid)
        time.sleep(looked_s + RATE_S - time.monotonic())
        last, sent = ask_metrics(http), (a.sent - sent[0], b.sent - sent[1])
        rate_s = time.monotonic() - looked_s
        assert process.poll() is None
    rates = [
        (read_metric(last, "edge_capture_frames_total", name)
         - read_metric(text, "edge_capture_frames_total", name)) / wanted
        for name, wanted in (("a", sent[0]), ("b", sent[1]), ("good", 10 * rate_s))
    ]  # fmt: skip
    grown = after.resident_bytes - before.resident_bytes
    threads, files = after.threads - before.threads, after.files - before.files
    metric = read_metric(later, expected.metric, "bad")
    told = [line for line in lines if " bad: " in line and expected.says in line]
    print(f"\n{fault}: {expected.code}, {expected.metric} {metric:g}, neighbours' rates "
          f"{' '.join(f'{rate:.3f}' for rate in rates)}, {grown / 1e6:+.1f} MB, {threads:+d} "
          f"threads, {files:+d} files, {len(told)} of {sum(' bad: ' in x for x in lines)} lines: "
          f"{told[0].split(' bad: ')[1] if told else 'none'}", flush=True)  # fmt: skip
    keep("neighbours", min(rates))
    assert grown < MAX_GROWTH_BYTES
    assert threads <= MAX_NEW_THREADS
    assert files <= MAX_NEW_FILES
    assert expected.low <= metric <= expected.high
    assert 1 <= len(told) <= expected.lines
    assert told_s < began_s
    assert PASSWORD not in (tmp_path / "log").read_text() + text + later + last
    assert not [topic for _, topic, part in wire.messages if PASSWORD.encode() in part]


def test_silence_is_noticed_and_pictures_are_back_in_time(tmp_path, keep):
    rng = random.Random(15)
    names = [f"camera-{number}" for number in range(CAMERAS)]
    noticed_s, back_s = [], []
    with contextlib.ExitStack() as stack:
        cameras = {name: stack.enter_context(film_fault("healthy")) for name in names}
        sources = {name: to_source(url) for name, (url, _) in cameras.items()}
        _, _, wire = stack.enter_context(watched_node(tmp_path, sources, fps=1))
        since_s = 0.0
        for _ in range(ROUNDS):
            for name in names:
                wire.wait_for(name, lambda code: code == "delivers", since_s, 30)
            time.sleep(2)
            for name in names:
                cameras[name][1].silent.set()
                time.sleep(rng.uniform(0, 0.1))
            for name in names:
                began_s = cameras[name][1].sent_s
                at_s = wire.wait_for(name, lambda code: code != "delivers", began_s, 30)
                noticed_s.append(at_s - began_s)
            since_s = time.monotonic()
            answers_s = {}
            # at any moment of an attempt, which lasts 3 s, and of the wait before the next one
            for at_s, name in sorted((since_s + rng.uniform(0, RETRY_S), name) for name in names):
                time.sleep(max(0.0, at_s - time.monotonic()))
                answers_s[name] = time.monotonic()
                cameras[name][1].silent.clear()
            for name in names:
                at_s = wire.wait_for(name, lambda code: code == "delivers", answers_s[name], 30)
                back_s.append(at_s - answers_s[name])
    noticed, back = np.percentile(noticed_s, 95), np.percentile(back_s, 95)
    print(f"\n{len(back_s)} silences: noticed p50 {np.median(noticed_s):.2f} s, p95 {noticed:.2f}, "
          f"longest {max(noticed_s):.2f}; pictures again p50 {np.median(back_s):.2f} s, p95 "
          f"{back:.2f}, longest {max(back_s):.2f}", flush=True)  # fmt: skip
    keep("silence", noticed)
    keep("pictures back", back)


@pytest.mark.parametrize("fault", ["refuse", "reset", "401", "404"])
def test_failed_reconnects_leave_nothing_behind(fault, tmp_path):
    with camera_at_fault(fault, tmp_path) as source:
        url = re.findall(r'url = "([^"]+)"', source)[0]
        camera = RtspCamera(Options(url=url))
        for _ in range(100):  # what is loaded once
            fail(camera)
        gc.collect()
        before, threads = Usage.measure("self"), threading.active_count()
        for _ in range(RECONNECTS):
            fail(camera)
        gc.collect()
        time.sleep(0.5)
        after = Usage.measure("self")
        own = threading.active_count() - threads
    grown = after.resident_bytes - before.resident_bytes
    print(f"\n{fault}: {RECONNECTS} failed connections: {grown / 1e6:+.2f} MB, "
          f"{after.threads - before.threads:+d} threads, {after.files - before.files:+d} files",
          flush=True)  # fmt: skip
    assert grown < MAX_RECONNECT_BYTES
    assert after.threads <= before.threads
    assert own <= 0
    assert after.files <= before.files


def fail(camera):
    """Connect in vain."""
    with pytest.raises(SourceError), camera.connect(threading.Event()):
        pass
