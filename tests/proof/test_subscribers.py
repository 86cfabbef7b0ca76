"""Whatever a subscriber does, the others go on: five runs of each attack on a whole node.

Prints for each run the rate of a good subscriber before and while it lasts, the oldest message, the
growth of the node's memory, and the time to the first peer that was cut off.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from edge.client import Received, Subscriber
from tests.support.hostile_subscribers import KINDS
from tests.support.node import read_bus_port

RUNS = int(os.environ.get("RUNS", "5"))
CALM_S = 3
ATTACK_S = 6
ATTACKER = "tests.support.hostile_subscribers"
CONFIG = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "a"
fps = 10
source = { kind = "synthetic" }
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
[http]
port = 0
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node: its process, its public port, its HTTP port and its log."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "edge.toml").write_text(CONFIG)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "edge.toml"], cwd=folder, stderr=output
        )
    try:
        deadline_s = time.monotonic() + 60
        while not {"ready:", "subscribers"} <= set(log.read_text().split()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        [http] = re.findall(r"http port (\d+)", log.read_text())
        bus = read_bus_port(log)
        yield process, bus, int(http), log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def measure(node, kind):
    process, port, http, _ = node
    cut_before = count_cut(http)
    with Subscriber(f"tcp://127.0.0.1:{port}", ("v1/detections/",), gaps=False) as good:
        calm, *_ = listen(good, CALM_S)
        before = read_rss(process.pid)
        attack = subprocess.Popen([sys.executable, "-m", ATTACKER, kind, str(port), str(ATTACK_S)])
        try:
            ages, hole_s, cut_s, peak = listen(
                good, ATTACK_S + 1, lambda: count_cut(http) > cut_before, process.pid
            )
        finally:
            attack.kill()
            attack.wait()
        return {
            "calm_fps": len(calm) / CALM_S,
            "fps": len(ages) / (ATTACK_S + 1),
            "oldest_s": max(ages, default=99.0),
            "hole_s": hole_s,
            "lost": good.missed,
            "rss_mb": (peak - before) / 1e6,
            "cut_s": cut_s,
        }


def listen(good, seconds, is_cut=lambda: False, pid=None):
    """What a good subscriber hears: ages, longest hole, time to the first cut, peak of memory."""
    ages, hole_s, cut_s, peak = [], 0.0, None, 0
    began_s = last_s = asked_s = time.monotonic()
    while (now_s := time.monotonic()) < began_s + seconds:
        item = good.receive(0.05)
        if isinstance(item, Received):
            now_s = time.monotonic()
            ages.append(time.time() - item.body.captured_at)
            hole_s, last_s = max(hole_s, now_s - last_s), now_s
        if pid and now_s - asked_s > 0.3:
            asked_s = now_s
            peak = max(peak, read_rss(pid))
            if cut_s is None and is_cut():
                cut_s = now_s - began_s
    return ages, hole_s, cut_s, peak


def read_rss(pid):
    statm = Path(f"/proc/{pid}/statm").read_text()
    return int(statm.split()[1]) * 4096


def count_cut(http):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as answer:
        found = re.findall(r"^edge_subscribers_cut_total\{.*\} (\S+)", answer.read().decode(), re.M)
    return sum(map(float, found))


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
def test_a_good_subscriber_keeps_its_rate(node, kind, keep):
    for run in range(RUNS):
        figures = measure(node, kind)
        shown = ", ".join(
            f"{name} {value:.2f}" if value is not None else f"{name} -"
            for name, value in figures.items()
        )
        print(f"\n{kind} {run}: {shown}", end="", flush=True)
        keep("bus rate", figures["fps"] / min(10, figures["calm_fps"]))
        keep("bus age", figures["oldest_s"])
        keep("bus lost", figures["lost"])
        assert figures["rss_mb"] <= 40
        assert node[0].poll() is None
