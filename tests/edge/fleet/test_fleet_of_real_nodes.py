"""A real node under an agent and a hub: `edge run`, `edge fleet run`, `edge hub`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.nats_server import nats_server

PATIENCE_S = 60
CONFIG = """
[models]
detector = "zoo:detect-nano"
{more}
[[cameras]]
name = "{camera}"
source = {{ kind = "synthetic" }}
[http]
port = {port}
"""
START = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path({folder!r})
pid = folder / "pid"
if pid.exists():
    old = int(pid.read_text())
    os.kill(old, signal.SIGTERM)
    while os.path.exists(f"/proc/{{old}}") and open(f"/proc/{{old}}/stat").read().split()[2] != "Z":
        time.sleep(0.05)
node = subprocess.Popen([sys.executable, "-m", "edge", "run", "gate.toml"], cwd=folder,
                        stderr=open(folder / "log", "ab"), stdout=subprocess.DEVNULL,
                        start_new_session=True)
pid.write_text(str(node.pid))
"""
RELOAD = "import os, signal; os.kill(int(open({pid!r}).read()), signal.SIGHUP)"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


class Box:
    """A node, its agent and its hub."""

    def __init__(self, folder, server):
        self.folder, self.server, self.port = folder, server, free_port()
        self.file = folder / "gate.toml"
        self.file.write_text(self.text("a"))
        self.start = [sys.executable, "-c", START.format(folder=str(folder))]

    def text(self, camera, more=""):
        return CONFIG.format(camera=camera, more=more, port=self.port)

    def hub(self, *arguments):
        """`edge hub`: exit status and output."""
        command = [sys.executable, "-m", "edge", "hub", *map(str, arguments)]
        done = subprocess.run(
            [*command, "--server", self.server.url], capture_output=True, text=True, timeout=180,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def report(self):
        """What the hub knows of the box."""
        _, said = self.hub("boxes", "--json")
        return json.loads(said) if said.startswith("{") else {}

    def pid(self):
        return int((self.folder / "pid").read_text())

    @contextmanager
    def running(self):
        """The node and the agent."""
        reload = [sys.executable, "-c", RELOAD.format(pid=str(self.folder / "pid"))]
        settings = self.folder / "fleet.toml"
        lines = {
            "box": "gate", "servers": [self.server.url], "configuration": str(self.file),
            "reload": reload, "restart": self.start, "patience_s": 30,
        }  # fmt: skip
        settings.write_text("".join(f"{key} = {json.dumps(x)}\n" for key, x in lines.items()))
        subprocess.run(self.start, check=True, timeout=60)
        with (self.folder / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "edge", "fleet", "run", settings], stderr=log
            )
        try:
            yield agent
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(20) == 0
            os.kill(self.pid(), signal.SIGTERM)


@pytest.fixture
def box(tmp_path):
    with ExitStack() as stack:
        yield Box(tmp_path, stack.enter_context(nats_server(tmp_path / "nats")))


@pytest.mark.slow
def test_a_node_takes_what_the_hub_wants_and_goes_back_when_it_is_told(box):
    wanted = box.folder / "wanted.toml"
    with box.running():
        wanted.write_text(box.text("b"))
        status, said = box.hub("apply", wanted, "gate")
        assert (status, said.splitlines()[-1]) == (0, "1 box runs with it")
        assert box.file.read_text() == box.text("b")
        pid = box.pid()
        report = box.report()
        assert (report["outcome"], report["is_ready"], report["problem"]) == ("applied", True, "")
        assert "reloaded: 1 camera" in (box.folder / "log").read_text()

        # a model that is not on this box: the hub cannot know, the box refuses it
        wanted.write_text(box.text("c").replace("zoo:detect-nano", "/nowhere/x.onnx"))
        status, said = box.hub("apply", wanted, "gate")
        assert status == 1
        assert "gate: refused:" in said
        assert "/nowhere/x.onnx" in said
        assert box.file.read_text() == box.text("b")
        assert box.pid() == pid  # it was not touched
        assert "refused" in box.hub("boxes")[1]

        # a mistake is found before anything is sent
        wanted.write_text(box.text("d", "detektor = 1"))
        status, said = box.hub("apply", wanted, "gate")
        assert status == 78
        assert box.report()["revision"] == 2

        status, said = box.hub("rollback", "gate")
        assert status == 0, said
        assert box.file.read_text() == box.text("b")
        wanted.write_text(box.text("e"))
        assert box.hub("apply", wanted, "gate")[0] == 0
        assert box.hub("rollback", "gate")[0] == 0
        assert box.file.read_text() == box.text("b")


@pytest.mark.slow
def test_a_node_that_does_not_start_with_it_is_rolled_back(box):
    """Its port belongs to somebody else, which nobody can know before."""
    wanted = box.folder / "wanted.toml"
    with box.running(), socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        wanted.write_text(box.text("b").replace(f"port = {box.port}", f"port = {busy}"))
        status, said = box.hub("apply", wanted, "gate", "--wait", "120")
        assert status == 1
        assert "gate: rolled back: the node was not ready within 30 s: see its log" in said
        assert box.file.read_text() == box.text("a")
        wait(lambda: box.report()["is_ready"])


def test_hub_says_what_is_wrong_with_what_it_is_given(box):
    wanted = box.folder / "wanted.toml"
    wanted.write_text(box.text("a"))
    assert box.hub("boxes") == (0, "no box has joined: see edge fleet join\n")
    for arguments, expected in [
        (("apply", wanted), "name the boxes"),
        (("apply", wanted, "a b"), "is no name of a box"),
        (("apply", wanted, "gate", "--waves", "x"), "is no wave"),
        (("rollback", "gate"), "nothing is known that gate ran before"),
        (("apply", wanted, "gaet", "--wait", "1"), "gaet: has never reported: check its name"),
    ]:
        status, said = box.hub(*arguments)
        assert status != 0
        assert expected in said
        assert "Traceback" not in said


def test_a_hub_on_another_machine_needs_tls(tmp_path):
    command = [sys.executable, "-m", "edge", "hub", "boxes", "--server", "nats://u:secret@10.1.1.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "--insecure" in done.stderr
    assert "secret" not in done.stderr
