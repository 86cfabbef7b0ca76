"""Runs the same commands here and on an emulated ARM, and compares what they find.

python -m tests.arm64 EDGE, where EDGE is the command of the environment that tests/arm64.sh makes.
The pictures are the photograph that matplotlib ships, and two of ../shared/data where it is there.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from edge.client import Received, Subscriber
from edge.sources.synthetic import Options, SyntheticCamera, find_shipped_photo
from edge.wire.schema import (
    DetectionsMessage,
    Face,
    HeartbeatMessage,
    StatusMessage,
    TrackedObject,
)

SHARED = Path(__file__).parents[2] / "shared" / "data"
REAL = ("coco_dev/images/000000000036.jpg", "gallery_video/two_people.jpg")
PIXELS = ("box", "landmarks")  # all other numbers are scores
MAX_PX, MAX_SCORE = 0.5, 1e-3
MIN_SIMILARITY = 0.99  # of templates, cut out by landmarks that differ by fractions of a pixel
FRAMES, FPS, SIZE_WH = 12, 10, (640, 360)
COMMAND_S = 180.0  # the slowest takes 50 s on two cores that do nothing else
CONFIG = """
[models]
detector = "zoo:detect-nano"
faces = "zoo:faces-nano"
[[cameras]]
name = "film"
source = {{ kind = "video_file", path = "film.mp4", every_frame = true }}
[recognition]
gallery = "gallery.db"
key_file = "key"
embedder = "zoo:embed-nano"
liveness = "zoo:liveness-nano"
require_liveness = false
look_every_s = 0
[[sinks]]
kind = "zeromq"
bind = "{endpoint}"
[http]
port = 0
"""


class DifferenceError(Exception):
    """A command failed on one machine, or found something else there."""


@dataclass(frozen=True)
class Machine:
    """Where the command runs, and a folder for what it reads and writes."""

    edge: str
    folder: Path

    def run(self, *arguments: object) -> str:
        """What a command prints; it must succeed.

        Raises:
            DifferenceError: It fails.
        """
        command = [self.edge, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        if done.returncode:
            raise DifferenceError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def run_json(self, *arguments: object) -> list[Any]:
        """The objects that a command prints with --json, one per line."""
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines()]

    def watch_node(self, endpoint: str) -> list[Any]:
        """What a subscriber outside receives about each frame of the film.

        The film is put in its place when the subscriber has joined, so that it misses nothing.

        Raises:
            DifferenceError: The node does not end well.
        """
        film, log = self.folder / "film.mp4", self.folder / "log"
        hidden = film.rename(self.folder / "hidden.mp4")
        with Subscriber(endpoint, timeout_s=COMMAND_S) as subscriber, log.open("wb") as output:
            node = subprocess.Popen([self.edge, "run", "edge.toml"], cwd=self.folder, stderr=output)
            try:
                frames = list(_read_frames(subscriber, lambda: hidden.rename(film)))
                node.send_signal(signal.SIGTERM)
                if status := node.wait(timeout=COMMAND_S):
                    raise DifferenceError(f"edge run ended with {status}: {log.read_text()}")
            finally:
                node.kill()
                node.wait()
        return frames


def _read_frames(subscriber: Subscriber, begin: Callable[[], object]) -> Iterator[Any]:
    has_begun = False
    for item in subscriber:
        match item:
            case Received(body=HeartbeatMessage()) if not has_begun:
                begin()
                has_begun = True
            case Received(body=DetectionsMessage() as body):
                yield [_show_object(thing) for thing in body.objects]
            case Received(body=StatusMessage(reason_code="end_of_file")):
                return


def _show_object(thing: TrackedObject) -> dict[str, Any]:
    """What does not depend on when the node looked at the face."""
    shown: dict[str, Any] = {"label": thing.label, "score": thing.score, "box": list(thing.box)}
    if isinstance(face := thing.face, Face):
        shown["face"] = {"score": face.score, "box": list(face.box)}
        shown["name"] = face.name or ""
    return shown


class Comparison:
    """The largest differences between two findings."""

    def __init__(self, here: Any, arm: Any) -> None:
        """Walk through both.

        Raises:
            DifferenceError: They are not of one form, or differ by too much.
        """
        self.pixels = self.score = 0.0
        self._compare(here, arm, "", "")

    def _compare(self, here: Any, arm: Any, place: str, name: str) -> None:
        if isinstance(here, dict) and isinstance(arm, dict) and here.keys() == arm.keys():
            for key, value in here.items():
                self._compare(value, arm[key], f"{place}.{key}", key)
        elif isinstance(here, list) and isinstance(arm, list) and len(here) == len(arm):
            for row, (one, other) in enumerate(zip(here, arm, strict=True)):
                self._compare(one, other, f"{place}[{row}]", name)
        elif isinstance(here, float) and isinstance(arm, float):
            self._measure(abs(here - arm), place, name in PIXELS)
        elif here != arm:
            raise DifferenceError(f"{place}: {here!r} here, {arm!r} on ARM")

    def _measure(self, difference: float, place: str, is_pixels: bool) -> None:
        limit = MAX_PX if is_pixels else MAX_SCORE
        if difference > limit:
            raise DifferenceError(f"{place} differs by {difference:.4g}, more than {limit}")
        if is_pixels:
            self.pixels = max(self.pixels, difference)
        else:
            self.score = max(self.score, difference)

    def __str__(self) -> str:
        return f"boxes differ by up to {self.pixels:.2f} px, scores by up to {self.score:.5f}"


@dataclass(frozen=True)
class Comparisons:
    """One comparison per command; each says what it compared."""

    here: Machine
    arm: Machine
    endpoint: str

    def doctor(self) -> str:
        """The same parts are found, and the libraries can do the same."""
        both = [
            {finding["part"]: finding for finding in machine.run_json("doctor")}
            for machine in (self.here, self.arm)
        ]
        detail = both[1]["machine"]["detail"]
        if not detail.startswith("aarch64"):
            raise DifferenceError(f"expected an ARM processor, got {detail}")
        Comparison(list(both[0]), list(both[1]))
        for part in ("decoders", "onnxruntime"):
            Comparison(both[0][part], both[1][part])
        return detail

    def detect(self) -> str:
        """The shipped models find the same in pictures."""
        real = [SHARED / name for name in REAL if (SHARED / name).is_file()]
        pictures = [find_shipped_photo(), *real]
        command = ("detect", "--min-score", 0.3, *pictures)
        found = [machine.run_json(*command) for machine in (self.here, self.arm)]
        without = "" if real else "; no ../shared/data, so none of its pictures"
        return f"{len(pictures)} pictures: {Comparison(*found)}{without}"

    def enroll(self) -> str:
        """A template that ARM made is the person's here as well."""
        for machine in (self.here, self.arm):
            machine.run("keys", "new", "key")
            machine.run("enroll", "Hopper", find_shipped_photo(), "--consent", *_GALLERY)
        where = (self.arm.folder / path for path in ("gallery.db", "key"))
        options = itertools.chain(*zip(("--gallery", "--key"), where, strict=True))
        [match] = self.here.run_json("people", "verify", "Hopper", find_shipped_photo(), *options)
        if match["similarity"] < MIN_SIMILARITY:
            raise DifferenceError(f"the templates differ: similarity {match['similarity']}")
        return f"the similarity of the templates is {match['similarity']}"

    def check(self) -> str:
        """The same configuration works."""
        both = [machine.run_json("check", "edge.toml") for machine in (self.here, self.arm)]
        Comparison(*([[each["part"], each["ok"]] for each in findings] for findings in both))
        return f"{len(both[0])} parts of a configuration work"

    def run(self) -> str:
        """A node finds the same in each frame, and in the end knows the person."""
        frames = [machine.watch_node(self.endpoint) for machine in (self.here, self.arm)]
        names = [[thing.pop("name", "") for thing in film[-1]] for film in frames]
        for film in frames:
            for thing in itertools.chain(*film):
                thing.pop("name", "")  # in which frame the person is known depends on the speed
        Comparison(*names)
        if "Hopper" not in names[0]:
            raise DifferenceError(f"the person is not recognized: {names[0]}")
        if len(frames[0]) != FRAMES:
            raise DifferenceError(f"expected {FRAMES} frames, got {len(frames[0])}")
        return f"{FRAMES} frames of a film: {Comparison(*frames)}"


_GALLERY = ("--gallery", "gallery.db", "--key", "key")


def write_film(path: Path) -> None:
    """A camera that moves over the photograph that matplotlib ships."""
    camera = SyntheticCamera(Options(size_wh=SIZE_WH, fps=FPS))
    with camera.connect(threading.Event()) as captures, av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        (stream.width, stream.height), stream.pix_fmt = SIZE_WH, "yuv420p"
        for capture in itertools.islice(captures, FRAMES):
            frame = av.VideoFrame.from_ndarray(capture.picture.rgb, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def find_free_endpoint() -> str:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def main() -> int:
    """Print a line per command; 1 at the first that differs."""
    endpoint = find_free_endpoint()
    with tempfile.TemporaryDirectory() as name:
        film = Path(name, "film.mp4")
        write_film(film)
        machines = []
        edges = {
            "here": Path(sys.executable).with_name("edge"),
            "arm": Path(sys.argv[1]).absolute(),
        }
        for folder, edge in edges.items():
            machine = Machine(str(edge), Path(name, folder))
            machine.folder.mkdir()
            (machine.folder / "edge.toml").write_text(CONFIG.format(endpoint=endpoint))
            shutil.copy(film, machine.folder)
            machines.append(machine)
        steps = Comparisons(*machines, endpoint)
        for step in (steps.doctor, steps.detect, steps.enroll, steps.check, steps.run):
            began_s = time.monotonic()
            try:
                detail = step()
            except (DifferenceError, TimeoutError, subprocess.TimeoutExpired) as error:
                print(f"edge {step.__name__}: {error}", file=sys.stderr)
                return 1
            print(
                f"edge {step.__name__}: {detail} ({time.monotonic() - began_s:.0f} s)", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
