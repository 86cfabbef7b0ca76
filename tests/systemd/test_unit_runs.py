"""ExecStart of edge@.service under a service manager that is a socket: notify(3), the watchdog."""

import configparser
import contextlib
import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.freezer import frozen
from tests.support.models import NOTHING, constant_model

ROOT = Path(__file__).parents[2]
WATCHDOG_S = 3  # the unit has 30; a stage may be silent for half of this, a camera for 9 s
PR_SET_MDWE = 65


def exec_start(folder):
    """The unit's command, with this environment for /opt/edgewatch and a folder for /etc/edge."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "edge/systemd" / "edge@.service")
    command = unit["Service"]["ExecStart"].replace("%i", "gate")
    assert command.startswith("/opt/edgewatch/bin/edge ")
    command = command.replace("/opt/edgewatch/bin/edge", f"{sys.executable} -m edge")
    return shlex.split(command.replace("/etc/edge", str(folder)))


def deny_write_execute():
    """MemoryDenyWriteExecute= of cpu.conf, where the kernel knows it."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0)


class Manager(threading.Thread):
    """The daemon, and what it said to its manager and when."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(
            constant_model("detect", {"detections": NOTHING}, ["person"])
        )
        self.threads = folder / "threads.json"
        (folder / "gate.toml").write_text(f"""
[models]
detector = "model.onnx"
[[cameras]]
name = "door"
source = {{ kind = "tests.support.tone_camera:Options", threads = "{self.threads}" }}
[[sinks]]
kind = "zeromq"
bind = "ipc://{folder}/bus"
[http]
port = 0
""")
        self.said = []  # (arrival, message)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._log = folder / "log"
        self.start()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                exec_start(folder),
                stdout=log,
                stderr=log,
                preexec_fn=deny_write_execute,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "WATCHDOG_USEC": str(WATCHDOG_S * 1_000_000),
                },
            )

    def run(self):
        with contextlib.suppress(OSError):
            while message := self._socket.recv(100):
                self.said.append((time.monotonic(), message.decode()))

    def heard(self, message, timeout_s, since_s=0.0):
        """Wait for a message that comes after ``since_s``."""
        return until(
            lambda: any(at > since_s and said == message for at, said in self.said), timeout_s
        )

    def log(self):
        return self._log.read_text()

    def list_thread_kinds(self):
        return {name.split()[0] for name in json.loads(self.threads.read_text())}

    def thread(self, name):
        assert until(self.threads.exists, 10), self.log()
        ids = json.loads(self.threads.read_text())
        (found,) = [number for other, number in ids.items() if other.startswith(name)]
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join(5)
        self._socket.close()


def until(condition, timeout_s):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def manage(tmp_path):
    managers = []

    def start():
        manager = Manager(tmp_path / f"node{len(managers)}")
        managers.append(manager)
        return manager

    yield start
    for manager in managers:
        manager.close()


def test_ready_in_ten_seconds_pings_and_an_end_in_five(manage):
    node = manage()
    assert node.heard("READY=1", 10), node.log()
    assert node.heard("WATCHDOG=1", 3)
    assert node.heard("WATCHDOG=1", 3, since_s=time.monotonic())
    stopping_s = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(10) == 0, node.log()
    assert time.monotonic() - stopping_s <= 5
    assert node.said[-1][1] == "STOPPING=1"


def test_a_wrong_configuration_ends_with_the_status_that_prevents_a_restart(manage, tmp_path):
    command = exec_start(tmp_path)
    (tmp_path / "gate.toml").write_text("node = 3")
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 78
    assert "Traceback" not in ended.stderr
    unit = (ROOT / "edge/systemd" / "edge@.service").read_text()
    assert "RestartPreventExitStatus=78" in unit


class Freezer:
    """Freezes threads of one node, one after the other; pings must stop, and come again."""

    def __init__(self, node, names):
        self.node = node
        self.names = names

    def check(self):
        for name in self.names:
            tries = (self._is_noticed(name) for _ in range(5))
            assert any(tries), f"nobody noticed that {name} was frozen"
            assert self.node.heard("WATCHDOG=1", 5, time.monotonic()), f"{name}: no ping again"

    def _is_noticed(self, name):
        """False when the thread was caught with Python's lock, so that all threads stood still."""
        with frozen(self.node.thread(name)):
            since = len(self.node.log())
            complaint = re.compile(f"no progress in .*{name}")
            patience_s = 12 if name.startswith("camera") else 5
            noticed = until(lambda: complaint.search(self.node.log(), since), patience_s)
            pinged = self.node.heard("WATCHDOG=1", 1.5, time.monotonic())
            assert not pinged, f"a ping though {name} was frozen"
            return noticed


@pytest.mark.slow
def test_pings_stop_while_any_one_thread_is_frozen(manage):
    plans = [["inference 0", "audit"], ["heartbeat", "http"]]
    freezers = [Freezer(manage(), names) for names in plans]
    for freezer in freezers:
        assert freezer.node.heard("WATCHDOG=1", 30), freezer.node.log()
    _skip_unless_allowed(freezers[0].node)
    everything = {name.split()[0] for names in plans for name in names} | {"MainThread"}
    # the self-test of the sink replaces a guard; without one camera or sink the others go on
    everything |= {"subscriber", "camera", "sink"}
    node = freezers[0].node
    assert until(lambda: node.list_thread_kinds() == everything, 5), (
        f"a thread that is not frozen below: {node.list_thread_kinds() ^ everything}"
    )

    assert not _all_at_once(freezers)


def _skip_unless_allowed(node):
    try:
        with frozen(node.thread("inference 0")):
            pass
    except PermissionError as error:
        pytest.skip(f"threads cannot be frozen here: {error}")


def _all_at_once(freezers):
    """Each in a thread of its own, for who freezes must thaw; what went wrong."""
    problems = []

    def work(freezer):
        try:
            freezer.check()
        except (AssertionError, OSError) as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=[freezer]) for freezer in freezers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems
