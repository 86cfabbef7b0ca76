"""The servers of a hub and of a box, made by typing what docs/how-to/run-a-fleet.md says.

What needs root or systemd is left out: the files lie under a folder, and the box's server is
started as its unit says, with the files that systemd would hand over.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.documented import list_blocks
from tests.support.line import Line
from tests.support.nats_server import BINARY

DOCUMENT = Path(__file__).parents[2] / "docs/how-to/run-a-fleet.md"
SERVERS = "A NATS server on each box"
EDGE = """#!/bin/sh
case "$1 $2" in
"hub init") set -- "$@" --key {root}/etc/edge/hub.nk ;;
"fleet join") set -- "$@" --file {root}/etc/edge/fleet.toml ;;
"fleet box") set -- "$@" --file {root}/etc/edge/nats.conf --unit {root}/edge-nats.service \\
    --credentials {root}/etc/edge/gate.nk --port {box_port} --program {program} ;;
esac
exec {python} -m edge "$@"
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """A server that can be killed and started again.

    Args:
        command: What starts it.
        port: Where it listens then.
        log: What it says.
        variables: Its environment.
    """

    def __init__(self, command, port, log, variables=None):
        self._command, self._port, self._log = command, port, log
        self._variables = variables or {}
        self._process = None

    @property
    def pid(self):
        """Of its process."""
        return self._process.pid

    def start(self):
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log, env=self._variables)
        deadline_s = time.monotonic() + 15
        while time.monotonic() < deadline_s:
            assert self._process.poll() is None, self._log.read_text()
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port), 1) as probe,
            ):
                if probe.recv(4) == b"INFO":
                    return
            time.sleep(0.05)
        raise TimeoutError("the server does not listen")

    def kill(self):
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def read_unit(unit, root, port):
    """The server that a unit describes, with its files as systemd hands them over."""
    secrets, state = root / "credentials", root / "box"
    for folder in (secrets, state):
        folder.mkdir()
    text = unit.read_text().replace("%t/credentials/%n", str(secrets))
    for name, path in re.findall(r"^LoadCredential=([^:]+):(.+)$", text, re.M):
        shutil.copy(path, secrets / name)
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.M)
    variables = dict(re.findall(r"^Environment=(\w+)=(.+)$", text, re.M))
    variables["STATE_DIRECTORY"] = str(state)
    return Server(command.split(), port, root / "box.log", variables)


class DocumentedFleet:
    """A hub, a box and the line between them.

    Attributes:
        root: Holds all files; those of the hub's server lie in `hub`, the box's in `box`.
        hub: Its server.
        box: Its server.
        line: Between them.
        hub_url: For `edge hub`.
        box_url: For the node.
        said: What `edge fleet box` printed.
    """

    def __init__(self, root):
        self.root, self._stack = root, ExitStack()
        self._hub_port, self._leaf_port, self._box_port = free_port(), free_port(), free_port()
        self.hub_url = f"tls://localhost:{self._hub_port}"
        self.box_url = f"nats://127.0.0.1:{self._box_port}"
        self.key, self.ca = str(root / "etc/edge/hub.nk"), str(root / "etc/edge/hub.pem")

    def __enter__(self):
        with self._stack as stack:
            self._install_stubs()
            self.line = stack.enter_context(Line(self._leaf_port))
            for block in list_blocks(DOCUMENT, "Set up the hub", "sh")[:2]:
                self.type(block)
            (config,) = list_blocks(DOCUMENT, SERVERS, "text")
            on_box, gather = list_blocks(DOCUMENT, SERVERS, "sh")
            self.hub = self._make_hub(config)
            stack.callback(self.hub.kill)
            self.hub.start()
            joining = self.type(list_blocks(DOCUMENT, "Let a box join", "sh")[0])
            self.type(re.findall(r"edge hub authorize .*", joining)[0])
            self.said = self.type(on_box)
            self.box = read_unit(self.root / "edge-nats.service", self.root, self._box_port)
            stack.callback(self.box.kill)
            self.box.start()
            self.type(gather)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def type(self, commands):
        """Type commands of the document; what they print."""
        text = commands.replace("/etc/", f"{self.root}/etc/")
        text = text.replace("tls://hub.example:4222", self.hub_url)
        text = text.replace("tls://hub.example", f"tls://localhost:{self.line.port}")
        text = text.replace("hub.example", "localhost")
        more = {
            "PATH": f"{self.root}/bin{os.pathsep}{os.environ['PATH']}", "EDGE_HUB": self.hub_url,
            "EDGE_HUB_CREDENTIALS": self.key, "EDGE_HUB_CA": self.ca,
            "EDGE_HUB_ACCOUNTS": f"{self.root}/etc/edge/hub-accounts.conf",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-euc", text], cwd=self.root, env={**os.environ, **more}, check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _make_hub(self, config):
        for theirs, ours in {
            "0.0.0.0:4222": f"127.0.0.1:{self._hub_port}",
            "0.0.0.0:7422": f"127.0.0.1:{self._leaf_port}",
            "/etc/": f"{self.root}/etc/",
            "/var/lib/nats": f"{self.root}/hub",
        }.items():
            assert theirs in config
            config = config.replace(theirs, ours)
        path = self.root / "etc/nats-server.conf"
        path.write_text(config)
        return Server([BINARY, "-c", str(path)], self._hub_port, self.root / "hub.log")

    def _install_stubs(self):
        for folder in ("bin", "etc/edge"):
            (self.root / folder).mkdir(parents=True)
        edge = EDGE.format(
            root=self.root, python=sys.executable, box_port=self._box_port, program=BINARY
        )
        nothing = "#!/bin/sh\n"
        for name, content in {"edge": edge, "pip": nothing, "systemctl": nothing}.items():
            (self.root / "bin" / name).write_text(content)
            (self.root / "bin" / name).chmod(0o755)
