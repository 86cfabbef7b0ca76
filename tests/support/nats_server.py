"""A real nats-server with JetStream on the loopback, that can be killed and started again."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

BINARY = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
    "nats-server"
)


class NatsServer:
    """One server and its folder.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, folder, config=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = folder / "nats.conf"
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder / "store"}" }}\n'
            + config
        )
        self._process = None

    def start(self):
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [BINARY, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + 15
        while time.monotonic() < deadline_s:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1) as probe,
            ):
                if probe.recv(4) == b"INFO":
                    return self
            time.sleep(0.05)
        raise TimeoutError("nats-server does not listen")

    def kill(self):
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def nats_server(folder, config=""):
    """A server for a while."""
    folder.mkdir(exist_ok=True)
    server = NatsServer(folder, config).start()
    try:
        yield server
    finally:
        server.kill()
