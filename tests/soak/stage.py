"""The stage: a node with its cameras, its server of NATS, and who looks at it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge.atomic_file import write_file
from edge.sources.synthetic import find_shipped_photo
from tests.soak.camera import ChangingCamera, changing_camera, code_films
from tests.soak.settings import CONTINUOUS, Camera, Ports, Settings
from tests.support.nats_server import NatsServer, nats_server
from tests.support.rtsp_server import RtspServer, rtsp_server
from tests.support.videos import WALKING, shared

PASSWORD = "tr0ub4dor-7"
LOGIN = f"viewer:{PASSWORD}"
CHANGING = ("a", "b", "c")
START_S, STOP_S = 90.0, 30.0


@dataclass
class Stage:
    """What acts are done with.

    Attributes:
        folder: Of the node.
        cameras: Those whose faults change.
        server: A camera that can go away and freeze: GStreamer's.
        settings: Of the node, as they were written last.
        children: Processes that act, until they are told to end.
    """

    folder: Path
    ports: Ports
    cameras: dict[str, ChangingCamera]
    server: RtspServer
    broker: NatsServer
    described: tuple[Camera, ...]
    settings: Settings = field(default_factory=Settings)
    process: subprocess.Popen[bytes] | None = None
    children: set[subprocess.Popen[bytes]] = field(default_factory=set)

    @property
    def log(self) -> Path:
        """Where the node says what happens."""
        return self.folder / "log"

    def configure(self, settings: Settings) -> None:
        """Write a configuration, and let the node read it if it runs."""
        self.settings = settings
        write_file(self.folder / "edge.toml", settings.render(self.described, self.ports))
        if self.process:
            self.process.send_signal(signal.SIGHUP)

    def ask(self, path: str) -> bytes:
        """The answer to a GET.

        Raises:
            OSError: There is none.
        """
        url = f"http://127.0.0.1:{self.ports.http}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read()

    def count_waiting(self) -> int:
        """How many messages wait in the spool; -1 where nobody says it."""
        with contextlib.suppress(OSError):
            text = self.ask("/metrics").decode()
            return sum(
                int(float(each))
                for each in re.findall(r"^edge_spool_messages\{.*\} (\S+)$", text, re.M)
            )
        return -1

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of Python, whose end is not waited for."""
        child = _start(words, self.folder, subprocess.DEVNULL, stdin=subprocess.PIPE)
        self.children.add(child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> int:
        """End a program; its exit status."""
        self.children.discard(child)
        assert child.stdin
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            return child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def stop(self) -> tuple[int, float]:
        """Stop the node; its exit status, and the seconds that it took."""
        assert self.process
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.process.wait(), time.monotonic() - began_s


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Everything but the node."""
    code_films()
    with contextlib.ExitStack() as stack:
        open_ = stack.enter_context
        cameras = {name: open_(changing_camera(LOGIN)) for name in CHANGING}
        film = shared(WALKING)
        server = open_(rtsp_server(film, user="viewer", password=PASSWORD))
        broker = open_(nats_server(folder / "nats"))
        node = folder / "node"
        node.mkdir()
        stage = Stage(
            node, Ports(_find_port(), _find_port(), broker.url), cameras, server, broker,
            _describe(cameras, server),
        )  # fmt: skip
        try:
            yield stage
        finally:
            for child in list(stage.children):
                stage.end(child)


@contextlib.contextmanager
def running(stage: Stage) -> Iterator[None]:
    """The node runs meanwhile."""
    for words in (
        ("keys", "new", "gallery.key"),
        ("enroll", "Grace", str(find_shipped_photo()), *GALLERY, "--consent"),
    ):
        done = _start(("edge", *words), stage.folder, subprocess.DEVNULL)
        assert done.wait() == 0, words
    stage.configure(stage.settings)
    with stage.log.open("wb") as output:
        stage.process = _start(("edge", "run", "edge.toml"), stage.folder, output)
    try:
        deadline_s = time.monotonic() + START_S
        while " ready: " not in stage.log.read_text(errors="replace"):
            assert stage.process.poll() is None, stage.log.read_text(errors="replace")
            assert time.monotonic() < deadline_s, stage.log.read_text(errors="replace")
            time.sleep(0.1)
        yield
    finally:
        stage.process.kill()
        stage.process.wait()


GALLERY = ("--gallery", "gallery.db", "--key", "gallery.key")


def _describe(cameras: dict[str, ChangingCamera], server: RtspServer) -> tuple[Camera, ...]:
    """The cameras of the configuration; the last one has no fault but its own."""
    real = f'{{ kind = "rtsp", url = "{server.url}", user = "viewer", password = "{PASSWORD}" }}'
    return (
        *(
            Camera(name, f'{{ kind = "rtsp", url = "{camera.url}" }}')
            for name, camera in cameras.items()
        ),
        Camera("real", real, CONTINUOUS),
        Camera("good", '{ kind = "synthetic", size_wh = [640, 360] }'),
    )


def _start(
    words: tuple[str, ...], folder: Path, stderr: object, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a module of Python; what interrupts us does not interrupt it."""
    return subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, stdin=stdin, stdout=subprocess.DEVNULL,
        stderr=stderr, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
