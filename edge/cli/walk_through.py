"""`edge people test`: how long it takes until the person before a camera is named, and why."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from edge import config_file
from edge.cli import options
from edge.cli.cameras import open_source
from edge.cli.enroll_live import read_frames
from edge.cli.gallery_options import GALLERY, KEY, AsJson, GalleryPath, KeyPath
from edge.cli.options import (
    GalleryOptions,
    is_given,
    load_liveness_model,
    load_models,
)
from edge.config import Config, Recognition
from edge.errors import ConfigError
from edge.frame_rate_limiter import FrameRateLimiter
from edge.people.explanation import Missing, describe, find_missing
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.names import fold_name
from edge.people.recognition.recognizer import Recognizer
from edge.ports import FaceFinder
from edge.printable import escape_controls
from edge.service.gallery_sync import follow_gallery
from edge.types import Frame, FrameResult, Outcome, Tracks
from edge.wire.message_builder import build_faces
from edge.wire.schema import Face

DEFAULT_FPS = 10.0
NO_FACE = Missing("face", "no face is in view: step before the camera")


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame shows of the person, who has the largest face.

    Attributes:
        at_s: Seconds since the first frame.
        face: The face with the decision; None when there is none.
        missing: What it lacks for a name.
    """

    at_s: float
    face: Face | None = None
    missing: tuple[Missing, ...] = (NO_FACE,)

    @property
    def texts(self) -> list[str]:
        """What is missing, in words."""
        return [escape_controls(missing.text) for missing in self.missing]


@dataclass(slots=True)
class WalkThrough:
    """How long it took, and what was missing meanwhile.

    Attributes:
        expect: Name or id that is waited for; anybody's when empty.
        last: The latest observation.
        found_s: When a face was in view first, seconds since the first frame; None if never.
        named_s: When the awaited name was given; None if not yet.
        lacked_s: For how long each thing was missing, in seconds, by its word.
        others: Names that were given and not waited for.
        has_ended: Whether the source ended meanwhile.
    """

    expect: str = ""
    last: Observation = Observation(0.0)
    found_s: float | None = None
    named_s: float | None = None
    lacked_s: dict[str, float] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    has_ended: bool = False

    def add(self, observation: Observation) -> None:
        """Take the next frame into account; what was missing is missing until then."""
        for what in {missing.what for missing in self.last.missing}:
            lacked_s = self.lacked_s.get(what, 0.0)
            self.lacked_s[what] = lacked_s + observation.at_s - self.last.at_s
        self.last = observation
        face = observation.face
        if face is None:
            return
        if self.found_s is None:
            self.found_s = observation.at_s
        if face.outcome == Outcome.KNOWN and self._is_expected(str(face.person), str(face.name)):
            self.named_s = observation.at_s
        elif face.outcome == Outcome.KNOWN:
            self.others.add(str(face.name))

    def _is_expected(self, person: str, name: str) -> bool:
        return self.expect in ("", person) or fold_name(self.expect) == fold_name(name)

    def to_json(self) -> dict[str, object]:
        """The result for scripts."""
        face = self.last.face
        return {
            "named": self.named_s is not None,
            "name": str(face.name) if face is not None and face.name else "",
            "seconds": self.named_s,
            "face_found_s": self.found_s,
            "watched_s": round(self.last.at_s, 3),
            "missing": [asdict(missing) for missing in self.last.missing],
            "missing_s": {what: round(s, 2) for what, s in self.lacked_s.items() if s},
            "other_names": sorted(self.others),
        }

    def summarize(self) -> Iterator[str]:
        """The result for people, line by line."""
        face = self.last.face
        ended = ", when the source ended" if self.has_ended else ""
        failed = f"{self.expect} was not" if self.expect else "nobody was"
        failed = f"{failed} named within {self.last.at_s:.1f} s{ended}"
        if face is not None and self.named_s is not None and self.found_s is not None:
            wait_s = self.named_s - self.found_s
            yield (
                f"named {face.name} after {self.named_s:.1f} s, {wait_s:.1f} s after the face was "
                "in view"
            )
        elif face is None:
            yield f"{failed}: no face is in view"
        else:
            yield f"{failed}. Missing at the end:"
            yield from (f"  {text}" for text in self.last.texts)
        if self.others:
            yield f"someone else was named: {', '.join(sorted(self.others))}"
        lacked = sorted(((s, what) for what, s in self.lacked_s.items() if s), reverse=True)
        if lacked:
            yield f"seconds without: {', '.join(f'{what} {s:.1f}' for s, what in lacked)}"
        if face is not None:
            yield from (f"{label}: {text}" for label, text in describe(face))


def walk_through(
    context: typer.Context,
    camera: Annotated[
        str,
        typer.Option(
            metavar="CAMERA",
            help="A camera of --config, rtsp://.., /dev/video0, or a file.",
        ),
    ],
    expect: Annotated[
        str, typer.Option(metavar="NAME", help="Who must be named (name or id); default anybody.")
    ] = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds until giving up.")
    ] = 30,
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="EDGE_CONFIG",
            metavar="FILE",
            help="The daemon's configuration: cameras, rules of recognition, gallery, key, models.",
        ),
    ] = None,
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    embedder: options.EmbedderName = options.EMBEDDER,
    faces: options.FacesName = options.FACES,
    liveness: options.LivenessName = options.LIVENESS,
    as_json: AsJson = False,
) -> None:
    """Measure how long the person before a camera takes to be named, and what is missing till then.

    Recognition works as in the daemon, on the largest face. The exit status is 0 when the person
    was named, 1 when not.
    """
    settings = config_file.load(configuration) if configuration else None
    chosen = GalleryOptions(gallery, key, embedder, faces, liveness)
    if configuration and settings:
        chosen = chosen.with_defaults(context, settings, configuration)
        if settings.recognition is None and not is_given(context, "gallery"):
            problem = "there is no [recognition]: add it, or give --gallery and --key"
            raise ConfigError(problem, file=configuration)
    if expect:
        with Gallery(chosen.gallery, load_key(chosen.key)) as opened:
            opened.find(expect)  # or nobody could ever be named so
    source = open_source(camera, settings)
    observer = _make_observer(chosen, settings)
    walk, stop = WalkThrough(expect), threading.Event()
    fps = next((c.fps for c in settings.cameras if c.name == camera), 0.0) if settings else 0.0
    with (
        _show(walk) as show,
        contextlib.closing(read_frames(source, stop, fps or DEFAULT_FPS)) as frames,
    ):
        for observation in observer.observe(frames):
            walk.add(observation)
            show()
            if walk.named_s is not None or observation.at_s >= timeout_s:
                break
        else:
            walk.has_ended = True
    if as_json:
        typer.echo(json.dumps(walk.to_json(), ensure_ascii=False))
    else:
        for line in walk.summarize():
            typer.echo(escape_controls(line))
    if walk.named_s is None:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class FaceObserver:
    """Looks at frames as the daemon does, without objects."""

    finder: FaceFinder
    recognizer: Recognizer

    def observe(self, frames: Iterable[Frame]) -> Iterator[Observation]:
        """One observation a frame."""
        began_s = math.nan
        for frame in frames:
            began_s = frame.monotonic_s if math.isnan(began_s) else began_s
            at_s = frame.monotonic_s - began_s
            [found] = self.finder.find([frame])
            [result] = self.recognizer.look([FrameResult(frame, Tracks.empty(), (), found, ())])
            if not len(found):
                yield Observation(at_s)
                continue
            sides = result.faces.xyxy[:, 2:] - result.faces.xyxy[:, :2]
            face = build_faces(result.faces, result.decisions)[int(np.argmax(sides.prod(axis=1)))]
            yield Observation(at_s, face, tuple(find_missing(face)))


def _make_observer(chosen: GalleryOptions, settings: Config | None) -> FaceObserver:
    """The daemon's recognizer, with the gallery as it is now.

    Raises:
        ModelError: A model is missing, broken or of the wrong task.
        GalleryError: The gallery cannot be used.
    """
    finder, model = load_models(chosen.faces, chosen.embedder)
    rules = settings.recognition if settings else None
    rules = rules or Recognition(gallery=str(chosen.gallery), key_file=chosen.key)
    checker = load_liveness_model(chosen.liveness) if rules.liveness else None
    where = {"gallery": str(chosen.gallery.absolute()), "key_file": _locate_key(chosen.key)}
    rules = rules.model_copy(update=where)
    follower = follow_gallery(
        rules, Path(), model, checker, itertools.count(1), lambda _: None, finder=finder
    )
    return FaceObserver(finder, follower.recognizer)


def _locate_key(key: str) -> str:
    return key if ":" in key else str(Path(key).absolute())


@contextlib.contextmanager
def _show(walk: WalkThrough) -> Iterator[Callable[[], None]]:
    """Shows what is missing on standard error: a panel on a terminal, else a line a second."""
    console = Console(stderr=True)
    if not console.is_terminal:
        limiter = FrameRateLimiter(1)

        def print_line() -> None:
            if limiter.is_due(walk.last.at_s):
                told = "; ".join(walk.last.texts) or "named"
                typer.echo(f"{walk.last.at_s:5.1f} s  {told}", err=True)

        yield print_line
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda: live.update(make_panel(walk), refresh=True)


def make_panel(walk: WalkThrough) -> RenderableType:
    """What is missing now, the nearest step first."""
    first, *others = walk.last.texts or ["named"]
    title = Text(escape_controls(f"{walk.expect or 'anybody'}, {walk.last.at_s:.0f} s"))
    return Panel(Group(Text(first, "bold"), *map(Text, others)), title=title, width=78)
