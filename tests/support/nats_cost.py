"""What a message costs on its way: CPU of the sink and of servers.

The sink runs in a process of its own, whose CPU is read before and after; its messages are made
before that.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SENDER = """
import json, resource, sys, time
from edge import plugins
from tests.edge.sinks.test_zeromq import message
server, spool, family, count, at_once, rate_hz = json.loads(sys.argv[1])
table = {"kind": "nats", "servers": [server], "spool": spool, "families": [family]}
some = [[message(family, f"cam{n % 10}", seq=first + n) for n in range(at_once)]
        for first in range(1, count + 1, at_once)]
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
sink = plugins.create("sinks", table)
with sink.open():
    while sink.look().problem:
        time.sleep(0.05)
    begin_s, begun_s = used(), time.monotonic()
    for number, messages in enumerate(some):
        sink.send(messages)
        if rate_hz:
            time.sleep(max(0.0, begun_s + (number + 1) * at_once / rate_hz - time.monotonic()))
    while sink.look().messages:
        time.sleep(0.02)
    print(json.dumps([used() - begin_s, time.monotonic() - begun_s]))
"""


@dataclass(frozen=True)
class Cost:
    """What one message costs.

    Attributes:
        sink_us: CPU of the process that sends, in microseconds.
        seconds: How long it took to send all of them.
    """

    sink_us: float
    seconds: float


def send(server_url, spool, family, count, at_once, rate_hz=0):
    """Send messages through the sink and measure what that costs."""
    given = json.dumps([server_url, str(spool), family, count, at_once, rate_hz])
    done = subprocess.run(
        [sys.executable, "-c", SENDER, given], capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    used_s, took_s = json.loads(done.stdout.splitlines()[-1])
    return Cost(used_s / count * 1e6, took_s)


def read_cpu_s(pid):
    """CPU that a process has used, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def wait_until(true, patience_s=60):
    """Wait until something is true."""
    deadline_s = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
