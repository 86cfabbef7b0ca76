"""A scraper is answered whatever others do with their connections: five runs of each attack."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.support.node import running_node

RUNS = int(os.environ.get("RUNS", "5"))
SENDS = {
    "silent": b"",
    "half_head": b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
    "slow_post": b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    "slow_api_post": b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
    "viewers": b"GET /api/v1/changes HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "never_read": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
}
HOLD = """
import socket, sys, threading
port, sent = int(sys.argv[1]), bytes.fromhex(sys.argv[3])
def hold():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 3) as c:
                c.sendall(sent)
                threading.Event().wait(3) if b"changes" in sent or len(sent) > 1000 else c.recv(10)
        except OSError:
            threading.Event().wait(0.05)
for _ in range(int(sys.argv[2])):
    threading.Thread(target=hold, daemon=True).start()
threading.Event().wait(120)
"""


@pytest.mark.proof
@pytest.mark.parametrize("count", [64, 500])
@pytest.mark.parametrize("kind", SENDS)
def test_every_scrape_is_answered(kind, count, tmp_path, keep):
    with running_node(tmp_path) as (_, http):
        for run in range(RUNS):
            command = ["nice", "-n", "19", sys.executable, "-c", HOLD, str(http), str(count)]
            holders = subprocess.Popen([*command, SENDS[kind].hex()])
            try:
                time.sleep(1.5)
                times = [scrape(http, path) for path in ("metrics", "readyz", "healthz") * 7]
            finally:
                holders.kill()
                holders.wait()
            answered = sorted(took_s for took_s in times if took_s is not None)
            median_ms, longest_ms = 1000 * answered[len(answered) // 2], 1000 * answered[-1]
            print(f"\n{kind} {count} {run}: {len(answered)} of {len(times)}, ", end="")
            print(f"p50 {median_ms:.0f} ms, longest {longest_ms:.0f} ms", end="", flush=True)
            assert len(answered) == len(times)
            keep("scrape median", median_ms)
            keep("scrape longest", longest_ms)


def scrape(http, path):
    began_s = time.monotonic()
    with contextlib.suppress(OSError):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/{path}", timeout=5) as answer:
                answer.read()
        except urllib.error.HTTPError as error:  # 503 of /readyz is an answer
            error.close()
        return time.monotonic() - began_s
    return None
