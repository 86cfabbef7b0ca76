"""``edge watch``: what a node says, as a live table or one message a line."""

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
from rich.text import Text

from edge.client import ENDPOINT, Gap, Item, Received, Subscriber
from edge.wire.schema import DetectionsMessage, StatusMessage, encode_line
from edge.wire.topics import parse_camera

SILENCE_S = 3.0
FPS_WINDOW_S = 5.0
DRAW_EVERY_S = 0.25


def watch(
    endpoint: Annotated[str, typer.Argument(help="Where a node publishes.")] = ENDPOINT,
    json: Annotated[
        bool,
        typer.Option("--json", help="One message a line; losses are lines with gap or restarted."),
    ] = False,
) -> None:
    """Show what a node sees, live."""
    with _ends_quietly(), Subscriber(endpoint) as subscriber:
        if json:
            _lines(subscriber)
        else:
            _table(subscriber)


@contextmanager
def _ends_quietly() -> Iterator[None]:
    """Ctrl-C and a reader that has gone (``| head``) are ends, not errors."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # the interpreter flushes once more at its end
        os.close(nowhere)


# --- one message a line -----------------------------------------------------------------------


def _lines(subscriber: Subscriber) -> None:
    told = False
    while True:
        item = subscriber.receive(SILENCE_S)
        if item is not None:
            told = False
            sys.stdout.buffer.write(line(item))
            sys.stdout.buffer.flush()
        elif not told:
            told = True
            print(silence(subscriber.endpoint), file=sys.stderr, flush=True)


def line(item: Item) -> bytes:
    """An item as one line of JSON: a message, ``{"gap": ...}`` or ``{"restarted": ...}``."""
    if isinstance(item, Received):
        return encode_line(item.topic, item.body)
    kind = "gap" if isinstance(item, Gap) else "restarted"
    return msgspec.json.encode({kind: item}) + b"\n"


def silence(endpoint: str) -> str:
    """What is said when no node is heard."""
    return f"nobody publishes at {endpoint}: is the daemon running? Still waiting ..."


# --- the table --------------------------------------------------------------------------------


def _table(subscriber: Subscriber) -> None:
    board = Board(subscriber.endpoint)
    heard_s = time.monotonic()
    with Live(board.table(), console=Console(), auto_refresh=False) as live:
        drawn_s = 0.0
        while True:
            item = subscriber.receive(DRAW_EVERY_S)
            now_s = time.monotonic()
            if item is not None:
                heard_s = now_s
                board.note(item, now_s)
            if now_s - drawn_s >= DRAW_EVERY_S:
                drawn_s = now_s
                live.update(board.table(now_s, silent=now_s - heard_s > SILENCE_S), refresh=True)


@dataclass(slots=True)
class Row:
    """One camera as it is shown."""

    state: str = "?"
    reason: str = ""
    age_s: float = 0.0
    objects: int = 0
    labels: str = ""
    lost: int = 0
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def fps(self, now_s: float) -> float:
        """Messages a second of late."""
        while self.arrivals_s and now_s - self.arrivals_s[0] > FPS_WINDOW_S:
            self.arrivals_s.popleft()
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / max(now_s - self.arrivals_s[0], 1e-3)


class Board:
    """What is known of each camera."""

    def __init__(self, endpoint: str) -> None:
        """Begin with no camera."""
        self._endpoint = endpoint
        self._rows: dict[str, Row] = {}

    def note(self, item: Item, now_s: float) -> None:
        """Take in a message or a loss that came at ``now_s`` (monotonic)."""
        if isinstance(item, Gap):
            if camera := parse_camera(item.topic):
                self._row(camera).lost += item.missed
        elif isinstance(item, Received):
            self._note_message(item, now_s)

    def table(self, now_s: float = 0.0, *, silent: bool = False) -> Table:
        """The board, drawn."""
        caption = Text(silence(self._endpoint)) if silent else None
        table = Table(title=Text(self._endpoint), caption=caption)
        table.add_column("camera")
        table.add_column("state")
        for heading in ("fps", "age ms", "objects"):
            table.add_column(heading, justify="right", min_width=7)
        table.add_column("seen last")
        table.add_column("lost", justify="right")
        for camera, row in sorted(self._rows.items()):
            state = row.state if row.state in ("online", "?") else f"{row.state}: {row.reason}"
            cells = (
                camera,
                state,
                f"{row.fps(now_s):.1f}",
                f"{row.age_s * 1000:.0f}",
                str(row.objects),
                row.labels,
                str(row.lost),
            )
            table.add_row(*map(Text, cells))  # what a node says is no markup
        return table

    def _row(self, camera: str) -> Row:
        return self._rows.setdefault(camera, Row())

    def _note_message(self, item: Received, now_s: float) -> None:
        body = item.body
        if isinstance(body, StatusMessage):
            row = self._row(body.camera)
            row.state, row.reason = body.state, body.reason
        elif isinstance(body, DetectionsMessage):
            row = self._row(body.camera)
            row.arrivals_s.append(now_s)
            row.age_s, row.objects = body.age_s, len(body.objects)
            if body.objects:
                counts = Counter(found.label for found in body.objects)
                row.labels = ", ".join(f"{n} {label}" for label, n in counts.most_common(4))
