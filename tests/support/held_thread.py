"""Holds a thread of ZeroMQ in a running node, and tells how long that goes unnoticed."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.freezer import frozen


def time_to_notice(process, http, name="ZMQbg/IO"):
    """The seconds until /readyz says so, the answer, and the seconds until it is ready again."""
    while not ask(http)["ready"]:
        time.sleep(0.1)
    with frozen(find_thread(process.pid, name)):
        began_s = time.monotonic()
        while (answer := ask(http))["ready"]:
            assert time.monotonic() < began_s + 30
            time.sleep(0.05)
        noticed_s = time.monotonic() - began_s
        while not ask(http)["ready"] and time.monotonic() < began_s + 30:
            time.sleep(0.05)
        return noticed_s, answer, time.monotonic() - began_s


def ask(http):
    """What /readyz answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def find_thread(pid, name):
    """The id of the newest thread with this name."""
    found = [
        int(task.name)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if (task / "comm").read_text().startswith(name)
    ]
    return max(found)
