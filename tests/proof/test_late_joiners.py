"""Who joins late knows the state of all cameras at once, in plain text and encrypted.

Prints how long 100 subscribers that join one after another wait for the states of four cameras.
"""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zmq

from edge.wire.key_pair import create_key_pair
from edge.wire.key_ring import write_clients

pytestmark = pytest.mark.proof
JOINS = int(os.environ.get("JOINS", "100"))
CAMERAS = ("a", "b", "c", "d")
CONFIG = """
[models]
detector = "zoo:detect-nano-wide"
{cameras}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
{keys}
[http]
port = 0
"""
CAMERA = """
[[cameras]]
name = "{name}"
fps = 5
source = {{ kind = "synthetic" }}
"""
KEYS = 'key_file = "node"\nclients_file = "clients.toml"'


@pytest.fixture(params=["plain", "encrypted"])
def node(request, tmp_path):
    """The public port of a node, and the keys of one who may join."""
    pairs = None
    if request.param == "encrypted":
        pairs = create_key_pair(tmp_path / "node"), create_key_pair(tmp_path / "client")
        write_clients(tmp_path / "clients.toml", {"client": pairs[1].public})
    cameras = "".join(CAMERA.format(name=name) for name in CAMERAS)
    text = CONFIG.format(cameras=cameras, keys=KEYS if pairs else "")
    (tmp_path / "edge.toml").write_text(text)
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "edge.toml"], cwd=tmp_path, stderr=output
        )
    try:
        deadline_s = time.monotonic() + 60
        while not {"ready:", "subscribers"} <= set(log.read_text().split()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        time.sleep(2)  # until all cameras are online
        [port] = re.findall(r"subscribers connect to tcp://127\.0\.0\.1:(\d+)", log.read_text())
        yield request.param, int(port), pairs
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def join(port, pairs):
    """Seconds from the connection to the last camera's state."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        if pairs:
            socket.curve_serverkey = pairs[0].public.encode()
            socket.curve_publickey = pairs[1].public.encode()
            socket.curve_secretkey = pairs[1].secret.encode()
        socket.subscribe(b"v1/status/")
        began_s = time.monotonic()
        socket.connect(f"tcp://127.0.0.1:{port}")
        wanted = {f"v1/status/{name}/".encode() for name in CAMERAS}
        while wanted:
            assert socket.poll(5000), f"no state of {wanted}"
            wanted.discard(socket.recv_multipart()[0])
        return time.monotonic() - began_s


def test_the_state_of_all_cameras_comes_within_a_tenth_of_a_second(node, keep):
    how, port, pairs = node
    waits_s = []
    for _ in range(JOINS):
        waits_s.append(join(port, pairs))
        time.sleep(0.05 + 0.1 * np.random.default_rng(len(waits_s)).random())
    p50, p99 = np.percentile(waits_s, [50, 99])
    print(f"\n{how}: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms, longest "
          f"{1e3 * max(waits_s):.0f} ms of {JOINS}", flush=True)  # fmt: skip
    keep("joiner", p99)
