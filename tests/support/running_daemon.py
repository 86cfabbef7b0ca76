"""A daemon in a thread of the test."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

from edge import config_file
from edge.diagnostics.benchmark import NullDetector
from edge.service.daemon import Daemon
from edge.service.model_set import ModelSet

MODELS = ModelSet(NullDetector(), None)


def write(path, cameras, extra="", bind=None):
    tables = "\n".join(
        f'[[cameras]]\nname = "{name}"\nfps = 50\n'
        f'source = {{ kind = "tests.support.plugins:Options"{options} }}'
        for name, options in cameras.items()
    )
    path.write_text(f"""
[models]
detector = "none.onnx"
{tables}
[[sinks]]
kind = "zeromq"
bind = "{bind or f"ipc://{path.parent}/bus"}"
[http]
port = 0
{extra}""")
    return path


class Running:
    """A daemon in a thread."""

    def __init__(self, path, load=False):
        self.daemon = Daemon(config_file.load(path), path, models=None if load else MODELS)
        self.error = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.daemon.run()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def get(self, path):
        url = f"http://127.0.0.1:{self.daemon.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def get_reason(self, camera):
        """Why it is not ready; another reason comes with each attempt to connect."""
        return json.loads(self.get("/readyz")[1])["cameras"][camera]["reason"]

    def until(self, accepts, timeout_s=10):
        """Wait until /readyz's cameras satisfy a function."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self.daemon.http_port:
                cameras = json.loads(self.get("/readyz")[1])["cameras"]
                if accepts({name: camera["state"] for name, camera in cameras.items()}):
                    return True
            time.sleep(0.02)
        return False


def wait_until(is_true, timeout_s=15):
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
