"""`edge demo`: run the daemon without a configuration."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from edge import config_file, plugins
from edge.cli.cameras import parse_source
from edge.cli.process_exit import stop_before_start
from edge.cli.watch import Board
from edge.client import Item, Received, Subscriber
from edge.config import Config, Http, Log
from edge.errors import ConfigError, EdgeError, SourceError
from edge.service.camera_pool import create_source
from edge.service.daemon import Daemon
from edge.service.http import listen
from edge.service.log_format import set_up_logging
from edge.service.model_set import ModelSet
from edge.service.send_queue import try_open
from edge.types import FrameResult, StatusReason
from edge.vision.draw import draw, save_picture
from edge.vision.resize import to_rgb
from edge.wire.schema import StatusMessage

ENDPOINT = "tcp://127.0.0.1:5555"
EVENTS = [{"when": ["began"]}, {"when": ["spoof"], "severity": "alert"}]
FIRST_PICTURE_S = 15.0  # a camera that has delivered none by then is dead


class Showcase:
    """Keeps the result of each camera with the most detections."""

    def __init__(self) -> None:
        self._best: dict[str, FrameResult] = {}

    def update(self, result: FrameResult) -> None:
        """Take a result into account; called in the inference threads."""
        best = self._best.get(result.frame.camera)
        if best is None or _score(result) >= _score(best):
            self._best[result.frame.camera] = result

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._best)

    def save(self, classes: Sequence[str], path: Path) -> str:
        """Draw the best result into a file; a sentence about it."""
        if not self:
            return "no camera delivered a picture"
        result = max(self._best.values(), key=_score)
        tracks, faces = result.tracks, result.faces
        labels = [
            f"{classes[class_id]} {score:.2f} #{track_id % 1000}"
            for class_id, score, track_id in zip(
                tracks.class_id, tracks.score, tracks.track_id, strict=True
            )
        ]
        rgb = to_rgb(result.frame.picture)
        save_picture(draw(rgb, tracks.xyxy, labels, faces.xyxy, faces.landmarks), path)
        objects = f"{len(tracks)} object{'s' * (len(tracks) != 1)}"
        return f"{path} shows {objects} and {len(faces)} face{'s' * (len(faces) != 1)}"


def _score(result: FrameResult) -> float:
    return float(result.tracks.score.sum() + result.faces.score.sum())


def demo(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Video files, rtsp:// addresses, /dev/video devices; none: a synthetic camera.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Stop after this many seconds; 0 runs until Ctrl-C. By default that on a "
            "terminal, and 20 elsewhere.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[str, typer.Option(help="Object detector.")] = ("zoo:detect-nano-wide"),
    faces: Annotated[str, typer.Option(help="Face detector; empty uses none.")] = "zoo:faces-nano",
    picture: Annotated[Path, typer.Option(help="File for the drawing of the best frame.")] = Path(
        "edge-demo.png"
    ),
    bind: Annotated[str, typer.Option(help="ZeroMQ endpoint to publish at.")] = ENDPOINT,
) -> None:
    """Run the daemon on SOURCEs, show its messages and its page, and draw the best frame.

    It ends early if no camera delivers. Events are kept until it ends.
    """
    stop_before_start()
    console = Console()
    if seconds is None:
        seconds = 0 if console.is_terminal else 20
    set_up_logging(Log(level="error"))
    with tempfile.TemporaryDirectory(prefix="edge-demo-") as folder:
        tables = _build_config(sources or [], detector, faces, bind, folder)
        _run(config_file.parse(tables, "demo"), console, seconds, picture, bind)


def _run(settings: Config, console: Console, seconds: float, picture: Path, bind: str) -> None:
    _try_files(settings)
    try_open(plugins.create("sinks", settings.sinks[0]), "--bind")
    models = ModelSet.load(settings, Path())
    showcase = Showcase()
    daemon = Daemon(settings, models=models, on_result=showcase.update)
    daemon.handle_signals()
    console.print(f"publishing at {bind}", markup=False)
    console.print(f"in another terminal: edge watch {bind}", markup=False)
    console.print(f"in a browser: http://127.0.0.1:{settings.http.port}/", markup=False)
    with _show_messages(bind, console), _stop_after(seconds, daemon, showcase) as failures:
        daemon.run()
    if failures:
        raise EdgeError("\n".join(["no camera delivered a picture", *failures]))
    console.print()
    console.print(showcase.save(models.detector.classes, picture))


def _build_config(
    sources: Sequence[str], detector: str, faces: str, bind: str, folder: str
) -> dict[str, Any]:
    """The configuration that the arguments describe; events are kept in ``folder``."""
    models = {"detector": detector} | ({"faces": faces} if faces else {})
    tables = [_parse_looping_source(source) for source in sources] or [{"kind": "synthetic"}]
    return {
        "node": "demo",
        "models": models,
        "cameras": [
            {"name": f"camera-{n}", "source": table, "events": EVENTS}
            for n, table in enumerate(tables, start=1)
        ],
        "storage": {"folder": folder, "max_bytes": "1GB"},
        "sinks": [{"kind": "zeromq", "bind": bind}],
        "http": {"port": _choose_port()},
    }


def _choose_port() -> int:
    """The port that the page usually has, or a free one."""
    for port in (Http().port, 0):
        with contextlib.suppress(ConfigError), listen("127.0.0.1", port) as listener:
            return int(listener.getsockname()[1])
    return 0


def _parse_looping_source(text: str) -> dict[str, Any]:
    table = parse_source(text)
    return table | ({"loop": True} if table["kind"] == "video_file" else {})


def _try_files(settings: Config) -> None:
    """Read the first picture of each file.

    Raises:
        ConfigError: It is missing or not a video.
    """
    for camera in settings.cameras:
        if camera.source["kind"] != "video_file":
            continue
        source = create_source(camera)
        try:
            with source.connect(threading.Event()) as captures:
                if next(captures, None) is None:
                    raise ConfigError(f"{source.address} ended before its first frame")
        except SourceError as error:
            raise ConfigError(str(error)) from error


@contextlib.contextmanager
def _stop_after(seconds: float, daemon: Daemon, showcase: Showcase) -> Iterator[list[str]]:
    """Stop after ``seconds``, or early when no camera delivers: then with a line for each."""
    failures: list[str] = []

    def give_up() -> None:
        if not showcase:
            failures.extend(f"{each.camera}: {each.reason}" for each in daemon.health.states())
            daemon.stop()

    def end() -> None:
        give_up()
        daemon.stop()

    timers = [threading.Timer(FIRST_PICTURE_S, give_up)]
    if seconds:
        timers.append(threading.Timer(seconds, end))
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield failures
    finally:
        for timer in timers:
            timer.cancel()


def _is_goodbye(item: Item) -> bool:
    """Whether this is the status of a stopping daemon; the last table should remain."""
    body = item.body if isinstance(item, Received) else None
    return isinstance(body, StatusMessage) and body.reason_code == StatusReason.STOPPED


@contextlib.contextmanager
def _show_messages(endpoint: str, console: Console) -> Iterator[None]:
    """Show a live table of the messages that a subscriber receives."""
    over = threading.Event()
    board = Board(endpoint)

    def listen() -> None:
        with Subscriber(endpoint) as subscriber:
            while not over.is_set():
                item = subscriber.receive(0.2)
                if item is not None and not _is_goodbye(item):
                    board.update(item, time.monotonic())

    listener = threading.Thread(target=listen, name="subscriber", daemon=True)
    listener.start()
    with Live(
        get_renderable=lambda: board.table(time.monotonic()), console=console, refresh_per_second=4
    ):
        yield
    over.set()
    listener.join(2)
