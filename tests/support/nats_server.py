"""A real nats-server with JetStream on the loopback, that can be killed and started again."""

import contextlib
import shutil
import signal
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

    def __init__(self, folder, config="", domain=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = folder / "nats.conf"
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder / "store"}"'
            f"{f', domain: {domain}' if domain else ''} }}\n{config}"
        )
        self._log = folder / "nats.log"
        self._process = None

    @property
    def pid(self):
        """Of its process."""
        return self._process.pid

    def start(self):
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "-c", str(self._config)], stderr=log, start_new_session=True
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
        self.kill()
        raise TimeoutError(f"nats-server does not listen: {self._log.read_text()}")

    def reload(self):
        """Have it read its configuration, and wait until it has."""
        log = len(self._log.read_bytes())
        self._process.send_signal(signal.SIGHUP)
        deadline_s = time.monotonic() + 15
        while b"Reloaded server configuration" not in self._log.read_bytes()[log:]:
            if time.monotonic() > deadline_s:
                raise TimeoutError("nats-server does not reload")
            time.sleep(0.02)

    def kill(self):
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def nats_server(folder, config="", domain=""):
    """A server for a while."""
    folder.mkdir(exist_ok=True)
    server = NatsServer(folder, config, domain).start()
    try:
        yield server
    finally:
        server.kill()
