"""`edge demo`: see it work, with nothing configured."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from edge import config_file
from edge.cli.cameras import source_table
from edge.cli.watch import Board
from edge.client import Item, Received, Subscriber
from edge.config import Log
from edge.service.daemon import STOPPED, Daemon
from edge.service.log_format import set_up_logging
from edge.service.model_set import ModelSet
from edge.types import FrameResult
from edge.vision.draw import draw, save
from edge.vision.resize import to_rgb
from edge.wire.schema import StatusMessage

ENDPOINT = "tcp://127.0.0.1:5555"


class Showcase:
    """Keeps, of each camera, the event with the most to see."""

    def __init__(self) -> None:
        self._best: dict[str, FrameResult] = {}

    def note(self, event: FrameResult) -> None:
        """Called in the lanes' threads, for each camera in order."""
        best = self._best.get(event.frame.camera)
        if best is None or _interest(event) >= _interest(best):
            self._best[event.frame.camera] = event

    def save(self, classes: Sequence[str], path: Path) -> str:
        """Draw the best event into a file; a sentence about it."""
        if not self._best:
            return "no camera gave a picture"
        event = max(self._best.values(), key=_interest)
        tracks, faces = event.tracks, event.faces
        labels = [
            f"{classes[class_id]} {score:.2f} #{track_id % 1000}"
            for class_id, score, track_id in zip(
                tracks.class_id, tracks.score, tracks.track_id, strict=True
            )
        ]
        rgb = to_rgb(event.frame.picture)
        save(draw(rgb, tracks.xyxy, labels, faces.xyxy, faces.landmarks), path)
        return f"{path} shows {len(tracks)} objects and {len(faces)} faces"


def _interest(event: FrameResult) -> float:
    return float(event.tracks.score.sum() + event.faces.score.sum())


def demo(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Video files, rtsp:// addresses, /dev/video devices. None: a made-up camera.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long; 0 is until Ctrl-C.")] = 20,
    detector: Annotated[str, typer.Option(help="Object model.")] = "zoo:detect-nano",
    faces: Annotated[str, typer.Option(help="Face model; empty is none.")] = "zoo:faces-nano",
    picture: Annotated[Path, typer.Option(help="Where to draw the best frame.")] = Path(
        "edge-demo.png"
    ),
    bind: Annotated[str, typer.Option(help="Where to publish.")] = ENDPOINT,
) -> None:
    """Watch SOURCEs with the real daemon, show its messages, draw the best frame."""
    console = Console()
    set_up_logging(Log(level="error"))
    settings = config_file.parse(_tree(sources or [], detector, faces, bind), "demo")
    models = ModelSet.load(settings, Path())
    showcase = Showcase()
    daemon = Daemon(settings, models=models, on_result=showcase.note)
    daemon.handle_signals()
    console.print(f"publishing at {bind}; in another terminal: edge watch {bind}")
    with _shown(bind, console), _ended_after(seconds, daemon):
        daemon.run()
    console.print()
    console.print(showcase.save(models.detector.classes, picture))


def _tree(sources: Sequence[str], detector: str, faces: str, bind: str) -> dict[str, Any]:
    """The configuration that the arguments stand for."""
    models = {"detector": detector} | ({"faces": faces} if faces else {})
    tables = [_source(source) for source in sources] or [{"kind": "synthetic"}]
    return {
        "node": "demo",
        "models": models,
        "cameras": [
            {"name": f"camera-{n}", "source": table} for n, table in enumerate(tables, start=1)
        ],
        "sinks": [{"kind": "zeromq", "bind": bind}],
        "http": {"port": 0},
    }


def _source(text: str) -> dict[str, Any]:
    table = source_table(text)
    return table | ({"loop": True} if table["kind"] == "video_file" else {})


@contextlib.contextmanager
def _ended_after(seconds: float, daemon: Daemon) -> Iterator[None]:
    timer = threading.Timer(seconds, daemon.stop) if seconds else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def _says_goodbye(item: Item) -> bool:
    """The status that a stopping daemon sends of each camera; the last table is to stay."""
    body = item.body if isinstance(item, Received) else None
    return isinstance(body, StatusMessage) and body.reason == STOPPED


@contextlib.contextmanager
def _shown(endpoint: str, console: Console) -> Iterator[None]:
    """A live table of the messages that a subscriber gets."""
    over = threading.Event()
    board = Board(endpoint)

    def listen() -> None:
        with Subscriber(endpoint) as subscriber:
            while not over.is_set():
                item = subscriber.receive(0.2)
                if item is not None and not _says_goodbye(item):
                    board.note(item, time.monotonic())

    listener = threading.Thread(target=listen, name="subscriber", daemon=True)
    listener.start()
    with Live(
        get_renderable=lambda: board.table(time.monotonic()), console=console, refresh_per_second=4
    ):
        yield
    over.set()
    listener.join(2)
