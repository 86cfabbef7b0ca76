"""`edge watch`: the messages of a node, as a live table or as JSON lines."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from edge.cli.bus_options import ClientKey, ServerKey
from edge.cli.event_words import tell
from edge.cli.table import FoldingTable, make_column, to_cell
from edge.client import ENDPOINT, Gap, Item, Received, Subscriber
from edge.printable import escape_controls_in_json, format_counts
from edge.wire.schema import DetectionsMessage, StatusMessage, encode_line
from edge.wire.topics import parse_camera

SILENCE_S = 3.0
FPS_WINDOW_S = 5.0
DRAW_EVERY_S = 0.25
TOLD = 8  # lines of what happened


def watch(
    endpoint: Annotated[str, typer.Argument(help="ZeroMQ endpoint of a node.")] = ENDPOINT,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one message per line; losses are lines with gap or restarted."
        ),
    ] = False,
    server_key: ServerKey = "",
    key_file: ClientKey = None,
) -> None:
    """Show the messages of a node, live."""
    with (
        exit_quietly(),
        Subscriber(endpoint, server_key=server_key, key_file=key_file) as subscriber,
    ):
        if json:
            _print_lines(subscriber)
        else:
            _show_table(subscriber)


@contextmanager
def exit_quietly() -> Iterator[None]:
    """End without an error at Ctrl-C and when the reader of the pipe is gone."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # the interpreter flushes once more at exit
        os.close(null)


# --- JSON lines -------------------------------------------------------------------------------


def _print_lines(subscriber: Subscriber) -> None:
    warned = False
    while True:
        item = subscriber.receive(SILENCE_S)
        if item is not None:
            warned = False
            sys.stdout.buffer.write(escape_controls_in_json(line(item)))
            sys.stdout.buffer.flush()
        elif not warned:
            warned = True
            print(describe_silence(subscriber.endpoint), file=sys.stderr, flush=True)


def line(item: Item) -> bytes:
    """An item as one line of JSON: a message, ``{"gap": ...}`` or ``{"restarted": ...}``."""
    if isinstance(item, Received):
        return encode_line(item.topic, item.body)
    kind = "gap" if isinstance(item, Gap) else "restarted"
    return msgspec.json.encode({kind: item}) + b"\n"


def describe_silence(endpoint: str) -> str:
    """The message when nothing is received."""
    return (
        f"no messages from {endpoint}: is the daemon running, and does it know your key if it "
        "encrypts? Still waiting ..."
    )


# --- the table --------------------------------------------------------------------------------


def _show_table(subscriber: Subscriber) -> None:
    board = Board(subscriber.endpoint)
    received_s = time.monotonic()
    console = Console()
    with (
        _end_line(console),
        Live(board.table(), console=console, auto_refresh=False) as live,
    ):
        drawn_s = 0.0
        while True:
            item = subscriber.receive(DRAW_EVERY_S)
            now_s = time.monotonic()
            if item is not None:
                received_s = now_s
                board.update(item, now_s)
            if now_s - drawn_s >= DRAW_EVERY_S:
                drawn_s = now_s
                live.update(board.table(now_s, silent=now_s - received_s > SILENCE_S), refresh=True)


@contextmanager
def _end_line(console: Console) -> Iterator[None]:
    """End the last line of the table where Rich does not: in a file or a pipe."""
    try:
        yield
    finally:
        if not console.is_terminal:
            console.line()


@dataclass(slots=True)
class CameraRow:
    """The row of one camera."""

    state: str = "?"
    reason: str = ""
    age_s: float = 0.0
    objects: int = 0
    labels: str = ""
    lost: int = 0
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def fps(self, now_s: float) -> float:
        """Recent messages per second."""
        while self.arrivals_s and now_s - self.arrivals_s[0] > FPS_WINDOW_S:
            self.arrivals_s.popleft()
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / max(now_s - self.arrivals_s[0], 1e-3)


class Board:
    """The table of all cameras."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._rows: dict[str, CameraRow] = {}
        self._happened: deque[str] = deque(maxlen=TOLD)

    def update(self, item: Item, now_s: float) -> None:
        """Take an item into account that came at ``now_s`` (monotonic)."""
        if isinstance(item, Gap):
            if camera := parse_camera(item.topic):
                self._row(camera).lost += item.missed
        elif isinstance(item, Received):
            self._update_message(item, now_s)
            if words := tell(item.body):
                self._happened.append(words)

    def table(self, now_s: float = 0.0, *, silent: bool = False) -> Table:
        """Render the table, and below it what happened last."""
        lines = [describe_silence(self._endpoint)] if silent else list(self._happened)
        caption = to_cell("\n".join(lines)) if lines else None
        table = FoldingTable(
            make_column("camera"),
            make_column("state"),
            *(make_column(text, right=True, min_width=5) for text in ("fps", "age ms", "objects")),
            make_column("last seen"),
            make_column("lost", right=True),
            title=to_cell(self._endpoint),
            caption=caption,
            caption_justify="left",
        )
        for camera, row in sorted(self._rows.items()):
            state = row.state if row.state in ("online", "?") else f"{row.state}: {row.reason}"
            fps, age_ms = f"{row.fps(now_s):.1f}", f"{row.age_s * 1000:.0f}"
            cells = (camera, state, fps, age_ms, str(row.objects), row.labels, str(row.lost))
            table.add_row(*map(to_cell, cells))
        return table

    def _row(self, camera: str) -> CameraRow:
        return self._rows.setdefault(camera, CameraRow())

    def _update_message(self, item: Received, now_s: float) -> None:
        body = item.body
        if isinstance(body, StatusMessage):
            row = self._row(body.camera)
            row.state, row.reason = body.state, body.reason
        elif isinstance(body, DetectionsMessage):
            row = self._row(body.camera)
            row.arrivals_s.append(now_s)
            row.age_s, row.objects = body.age_s, len(body.objects)
            if body.objects:
                counts = Counter(detected.label for detected in body.objects)
                row.labels = format_counts(dict(counts.most_common(4)))
