"""Runs the image that tests/container.sh builds: it serves, its messages arrive outside, it stops.

python -m tests.container BASE PODMAN..., where PODMAN is the command with its own options.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.client import Received, Subscriber
from edge.wire.schema import DetectionsMessage

ROOT = Path(__file__).parents[1]
IMAGE = "localhost/edgewatch"
CONFIGURATION = ROOT / "deploy" / "container"
USER = 10470
MESSAGES = 20  # that a subscriber waits for
COMMAND_S = 60.0
# Below what a sandbox allows, where podman's own are above.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
RECOGNITION = """
[recognition]
gallery = "/var/lib/edge/gallery.db"
key_file = "/var/lib/edge/key"
embedder = "zoo:embed-nano"
liveness = "zoo:liveness-nano"
"""
CONFINED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")


class ContainerError(Exception):
    """The image, or a container of it, is not what it should be."""


@dataclass(frozen=True)
class Done:
    """How a container ended, and what it printed."""

    status: int
    output: str


@dataclass(frozen=True)
class Podman:
    """The command with its options."""

    command: tuple[str, ...]

    def run(self, *arguments: object) -> str:
        """What a command prints on standard output; it must succeed.

        Raises:
            ContainerError: It fails.
        """
        done = self._run(arguments)
        if done.returncode:
            raise ContainerError(f"podman {arguments[0]}: {done.returncode}: {done.stderr}")
        return done.stdout

    def try_image(self, options: Sequence[object], *arguments: object) -> Done:
        """Run the image until it ends."""
        done = self._run(("run", "--rm", "--no-healthcheck", *LIMITS, *options, IMAGE, *arguments))
        return Done(done.returncode, done.stdout + done.stderr)

    def inspect(self, image: str) -> dict[str, Any]:
        """What is known of an image."""
        [found] = json.loads(self.run("image", "inspect", image))
        return dict(found)

    def _run(self, arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """A container that must not start.

    Attributes:
        remedy: In the one line that it prints.
        options: Its mounts.
        command: What it is to do; empty is the daemon.
    """

    remedy: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Steps:
    """One promise per step; each says what it saw."""

    podman: Podman
    base: str
    folder: Path
    ports: tuple[int, int]  # of messages and HTTP, outside

    def image(self) -> str:
        """It is small, belongs to no root, and has a health check."""
        image, base = self.podman.inspect(IMAGE), self.podman.inspect(self.base)
        config = image["Config"]
        if config["User"] != "edge" or "Healthcheck" not in image:
            raise ContainerError(f"expected the user edge and a health check, got {config}")
        left = self.podman.try_image(
            ("--entrypoint", "/bin/sh"),
            "-c",
            "id -u; ls -d /src /opt/edgewatch/bin/pip 2>/dev/null",
        )
        if left.output.split() != [str(USER)]:
            raise ContainerError(f"expected user {USER} and nothing of the build: {left.output}")
        megabytes = [round(one["Size"] / 1e6) for one in (image, base)]
        return f"{megabytes[0]} MB, {megabytes[1]} MB of them {self.base}; runs as {config['User']}"

    def run(self) -> str:
        """A container with a read-only root answers /readyz, and its messages arrive outside."""
        network = ("--network", "slirp4netns") if shutil.which("slirp4netns") else ()
        published = [
            f"--publish=127.0.0.1:{port}:{inside}"
            for port, inside in zip(self.ports, (5555, 9470), strict=True)
        ]
        began_s = time.monotonic()
        self.podman.run(
            "run", "--detach", "--name", "edge", "--no-healthcheck", *LIMITS, *CONFINED, *network,
            *published, f"--volume={CONFIGURATION}:/etc/edge:ro", "--volume=state:/var/lib/edge",
            IMAGE,
        )  # fmt: skip
        self._wait_until_ready()
        ready_s = time.monotonic() - began_s
        people = _count_people(f"tcp://127.0.0.1:{self.ports[0]}")
        if not people:
            raise ContainerError(f"no person in {MESSAGES} messages")
        health = self.podman.inspect(IMAGE)["Healthcheck"]["Test"][1:]
        self.podman.run("exec", "edge", *health)
        return (
            f"ready after {ready_s:.1f} s, a person in {people} of {MESSAGES} messages that a "
            "subscriber outside received, the health check passes"
        )

    def refuse(self) -> str:
        """What is wrong with a mount ends it with 78, and a line that says what to do."""
        for refusal in self._list_refusals():
            done = self.podman.try_image((*CONFINED, "--network=none", *refusal.options),
                                         *refusal.command)  # fmt: skip
            lines = [line for line in done.output.splitlines() if line.startswith("edge")]
            if done.status != 78 or len(lines) != 1 or refusal.remedy not in lines[0]:
                raise ContainerError(f"{refusal}: {done.status}: {done.output}")
            if "Traceback" in done.output:
                raise ContainerError(f"{refusal}: {done.output}")
        return f"{len(self._list_refusals())} wrong mounts, each refused in a line with the remedy"

    def _list_refusals(self) -> list[Refusal]:
        sink = '[[sinks]]\nkind = "jsonl"\npath = "/var/lib/edge/out.jsonl"\n'
        mine, written = f"let user {USER} read it", f"let user {USER} write there"
        new_key, check = ("keys", "new", "/var/lib/edge/key"), ("check", "/etc/edge/edge.toml")
        return [
            Refusal("No such file or directory: check the path"),
            Refusal(mine, (self._configure("closed", "", 0o600),)),
            Refusal("create one with `edge keys new", (self._configure("faces", RECOGNITION),)),
            Refusal(written, (self._state_of_root(),), new_key),
            Refusal(written, (self._state_of_root(), self._configure("sink", sink)), check),
            Refusal("mount something writable there", ("--image-volume=ignore",), new_key),
        ]

    def _configure(self, name: str, text: str, mode: int = 0o644) -> str:
        """The option that mounts the shipped configuration and some more text."""
        path = self.folder / name / "edge.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text((CONFIGURATION / path.name).read_text() + text)
        path.chmod(mode)
        return f"--volume={path.parent}:/etc/edge:ro"

    def _state_of_root(self) -> str:
        folder = self.folder / "state"
        folder.mkdir(exist_ok=True)
        return f"--volume={folder}:/var/lib/edge"

    def stop(self) -> str:
        """SIGTERM ends it with 0."""
        began_s = time.monotonic()
        self.podman.run("stop", "--time", 20, "edge")
        took_s = time.monotonic() - began_s
        status = self.podman.run("inspect", "--format", "{{.State.ExitCode}}", "edge").strip()
        if status != "0":
            raise ContainerError(f"ended with {status}: {self.podman.run('logs', 'edge')}")
        self.podman.run("rm", "edge")
        return f"SIGTERM ends it with 0 after {took_s:.1f} s"

    def _wait_until_ready(self) -> None:
        end_s = time.monotonic() + COMMAND_S
        url = f"http://127.0.0.1:{self.ports[1]}/readyz"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if json.load(answer)["ready"]:
                        return
                    reason = "not ready"
            except OSError as error:
                reason = str(error)
            if time.monotonic() > end_s:
                raise ContainerError(f"{url}: {reason}: {self.podman.run('logs', 'edge')}")
            time.sleep(0.2)


def _count_people(endpoint: str) -> int:
    """In how many of the next messages a person is."""
    with Subscriber(endpoint, topics=["v1/detections/"], timeout_s=COMMAND_S) as subscriber:
        bodies = _list_detections(subscriber)
        return sum(any(thing.label == "person" for thing in body.objects) for body in bodies)


def _list_detections(subscriber: Subscriber) -> list[DetectionsMessage]:
    bodies: list[DetectionsMessage] = []
    for item in subscriber:
        if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
            bodies.append(item.body)
        if len(bodies) == MESSAGES:
            break
    return bodies


@contextlib.contextmanager
def _free_ports() -> Iterator[tuple[int, int]]:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    yield ports


def main() -> int:
    """Print a line per step; 1 at the first that fails."""
    base, *command = sys.argv[1:]
    podman = Podman(tuple(command))
    with tempfile.TemporaryDirectory() as name, _free_ports() as ports:
        steps = Steps(podman, base, Path(name), ports)
        for step in (steps.image, steps.run, steps.stop, steps.refuse):
            began_s = time.monotonic()
            try:
                detail = step()
            except (ContainerError, TimeoutError, subprocess.TimeoutExpired) as error:
                print(f"{step.__name__}: {error}", file=sys.stderr)
                return 1
            print(f"{step.__name__}: {detail} ({time.monotonic() - began_s:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
