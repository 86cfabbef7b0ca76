"""Live enrolment: the person before a camera is led through a challenge."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from edge.errors import EdgeError, SourceError
from edge.people.enrollment.challenge import Act, Challenge, Outcome, Progress
from edge.people.enrollment.observer import Witness
from edge.people.gallery.gallery import Gallery
from edge.ports import Source
from edge.service.frame_rate import FrameRateLimiter
from edge.types import F32, Frame

FPS = 8  # pictures a second that are looked at
HURRY_S = 3  # from here on the countdown is red

PROMPTS = {
    Act.STRAIGHT: "●  Look straight at the camera",
    Act.LEFT: "◀  Turn your head to your left",
    Act.RIGHT: "▶  Turn your head to your right",
    Act.UP: "▲  Raise your chin: look up",
    Act.DOWN: "▼  Lower your chin: look down",
    Act.CLOSER: "◎  Come closer to the camera",
}


class ChallengeError(EdgeError):
    """The challenge was not passed."""


@dataclass(frozen=True, slots=True)
class LiveEnrolment:
    """Leads one person through one challenge.

    Attributes:
        witness: looks at the person's face.
        challenge: judges what it sees.
        gallery: remembers attempts.
        show: tells the person what to do.
    """

    witness: Witness
    challenge: Challenge
    gallery: Gallery
    show: Callable[[Progress], None]

    def run(self, frames: Iterable[Frame]) -> F32:
        """``(T, D)`` templates of the person who passed.

        Raises:
            ChallengeError: not passed.
            GalleryError: too many challenges failed of late.
        """
        for frame in frames:
            seen = self.witness.observe(frame)
            is_new = not self.challenge.begun
            progress = self.challenge.observe(seen)
            if is_new and self.challenge.begun:
                self.gallery.attempts.begin()
            self.show(progress)
            if progress.outcome is Outcome.FAILED:
                raise ChallengeError(self._failure(progress.reason))
            if progress.outcome is Outcome.PASSED:
                self.gallery.attempts.mark_passed()
                return self.challenge.templates
        raise ChallengeError(self._failure("the camera ended before the challenge did"))

    def _failure(self, reason: str) -> str:
        wait_s = self.gallery.attempts.lock_s()
        again = f"try again in {wait_s:.0f} s" if wait_s else "try again"
        return f"nobody was enrolled: {reason}; {again}"


def frames_of(source: Source, stop: threading.Event) -> Generator[Frame]:
    """Frames of a camera at a rate that a person can be led with.

    Raises:
        ChallengeError: it cannot be opened or went silent.
    """
    pace = FrameRateLimiter(FPS)
    try:
        with source.connect(stop) as captures:
            for seq, capture in enumerate(captures):
                if source.every_frame or pace.is_due(capture.monotonic_s):
                    at_s, monotonic_s = capture.captured_s, capture.monotonic_s
                    yield Frame("enrolment", 1, seq, at_s, monotonic_s, capture.picture)
    except SourceError as error:
        raise ChallengeError(f"nobody was enrolled: {error}") from error


# --- guiding ------------------------------------------------------------------------------------


def panel(name: str, progress: Progress) -> RenderableType:
    """What the person is to do now, and how long there is for it."""
    act = Text(PROMPTS[progress.act], "bold")
    bar = ProgressBar(total=progress.within_s, completed=progress.left_s, width=40)
    countdown = Text(f"{progress.left_s:.0f} s", "red" if progress.left_s < HURRY_S else "")
    hint = Text(progress.hint, "yellow")
    title = Text(f"{name}: {progress.done} of {progress.of} done")
    return Panel(Group(act, bar, countdown, hint), title=title, width=60)


@contextlib.contextmanager
def guide(name: str) -> Iterator[Callable[[Progress], None]]:
    """Shows progress on standard error: a panel on a terminal, else a line for each new prompt."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda progress: live.update(panel(name, progress), refresh=True)


class _Lines:
    """Prompts and hints as lines, each once."""

    def __init__(self) -> None:
        self._said: tuple[int, Act, str] | None = None

    def __call__(self, progress: Progress) -> None:
        said = (progress.done, progress.act, progress.hint)
        if said != self._said and progress.outcome is Outcome.RUNNING:
            self._said = said
            hint = f" ({progress.hint})" if progress.hint else ""
            typer.echo(f"{PROMPTS[progress.act]}, {progress.left_s:.0f} s{hint}", err=True)
