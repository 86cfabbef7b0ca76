"""Live enrollment in a terminal: frames of a camera, and prompts for the person in front of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from edge.frame_rate_limiter import FrameRateLimiter
from edge.people.enrollment.challenge import Act, ChallengeProgress, ChallengeState
from edge.ports import Source
from edge.types import Frame

FPS = 8  # frames looked at per second
URGENT_S = 3  # remaining time at which the countdown turns red

PROMPTS = {
    Act.STRAIGHT: "●  Look straight at the camera",
    Act.LEFT: "◀  Turn your head to your left",
    Act.RIGHT: "▶  Turn your head to your right",
    Act.UP: "▲  Raise your chin: look up",
    Act.DOWN: "▼  Lower your chin: look down",
    Act.CLOSER: "◎  Come closer to the camera",
}


def read_frames(source: Source, stop: threading.Event, fps: float = FPS) -> Generator[Frame]:
    """Frames of a camera, by default at a rate at which a person can be guided.

    Raises:
        SourceError: The camera cannot be opened or went silent.
    """
    limiter = FrameRateLimiter(fps)
    with source.connect(stop) as captures:
        for seq, capture in enumerate(captures):
            if source.every_frame or limiter.is_due(capture.monotonic_s):
                at_s, monotonic_s = capture.captured_s, capture.monotonic_s
                yield Frame("terminal", 1, seq, at_s, monotonic_s, capture.picture)


def make_panel(name: str, progress: ChallengeProgress) -> RenderableType:
    """What the person is to do now, and how much time is left for it."""
    act = Text(PROMPTS[progress.act], "bold")
    bar = ProgressBar(total=progress.limit_s, completed=progress.left_s, width=40)
    countdown = Text(f"{progress.left_s:.0f} s", "red" if progress.left_s < URGENT_S else "")
    hint = Text(progress.hint, "yellow")
    title = Text(f"{name}: {progress.done} of {progress.total} done")
    return Panel(Group(act, bar, countdown, hint), title=title, width=60)


@contextlib.contextmanager
def guide(name: str) -> Iterator[Callable[[ChallengeProgress], None]]:
    """Shows progress on standard error: a panel on a terminal, else a line per new prompt."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda progress: live.update(make_panel(name, progress), refresh=True)


class _Lines:
    """Prints each prompt and hint once, as a line."""

    def __init__(self) -> None:
        self._printed: tuple[int, Act, str] | None = None

    def __call__(self, progress: ChallengeProgress) -> None:
        prompt = (progress.done, progress.act, progress.hint)
        if prompt != self._printed and progress.state is ChallengeState.RUNNING:
            self._printed = prompt
            hint = f" ({progress.hint})" if progress.hint else ""
            typer.echo(f"{PROMPTS[progress.act]}, {progress.left_s:.0f} s{hint}", err=True)
