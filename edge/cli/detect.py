"""`edge detect`: look at pictures, folders and videos once, at every frame of them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from edge import plugins
from edge.cli.media import VIDEOS, Media, find
from edge.models.contract import load_model
from edge.models.paths import model_path
from edge.ports import Detector, FaceFinder
from edge.types import Detections, Faces, Frame
from edge.vision.draw import draw, save
from edge.vision.resize import to_rgb

SHIPPED = ("zoo:detect-nano", "zoo:faces-nano")
PATIENCE_S = 2.0  # what takes longer gets a progress bar


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What was found in one picture or frame; ``labels`` has a word for each object."""

    frame: Frame
    objects: Detections
    labels: tuple[str, ...]
    faces: Faces


def detect(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", exists=True, help="Pictures, videos, folders of them."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a picture or frame, a line each.")
    ] = False,
    model: Annotated[str, typer.Option(help="Object model, a file or zoo:NAME.")] = "",
    faces: Annotated[str, typer.Option(help="Face model, a file or zoo:NAME.")] = "",
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out what is below; 0 with --json, else 0.3."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Pictures a batch.")] = 8,
    lanes: Annotated[int, typer.Option(min=0, help="Of the runtime; 0 is one a core.")] = 0,
    draw_to: Annotated[
        Path | None, typer.Option("--draw", metavar="DIR", help="Write marked JPEGs there.")
    ] = None,
) -> None:
    """Find objects and faces in PATHs, with the models given, or with those that ship.

    Exit status 0 when at least one file could be read, 1 otherwise.
    """
    if not model and not faces:
        model, faces = SHIPPED
    least = (0.0 if as_json else 0.3) if min_score is None else min_score
    look = Look.load(model, faces, lanes, least)
    media = Media(find(paths))
    findings = look.at(media.read(), batch)
    if draw_to:
        findings = _drawn(findings, draw_to, media.files)
    if not (as_json and sys.stdout.isatty()):  # there the lines show the progress
        findings = _with_progress(findings, media)
    try:
        if as_json:
            _print_lines(findings)
        else:
            Console().print(_table(findings))
    except BrokenPipeError:  # the reader has gone (`| head`): an end, not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    _report(media)
    if not media.done:
        raise typer.Exit(1)


# --- looking ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """The models of one call; None where none was asked for."""

    detector: Detector | None
    faces: FaceFinder | None
    min_score: float
    lanes: int

    @classmethod
    def load(cls, model: str, faces: str, lanes: int, min_score: float) -> Look:
        """Load models by file or zoo name.

        Raises:
            ModelError: one is missing, broken or of the wrong task.
        """
        runtime = plugins.create("runtimes", {"kind": "onnx", "lanes": lanes})
        base = Path()
        return cls(
            load_model("detect", runtime, model_path(model, base)) if model else None,
            load_model("faces", runtime, model_path(faces, base)) if faces else None,
            min_score,
            runtime.lanes,
        )

    def at(self, frames: Iterator[Frame], batch: int) -> Iterator[Finding]:
        """Findings in the order of the frames, ``batch`` frames at a time in each lane."""
        with ThreadPoolExecutor(self.lanes, thread_name_prefix="lane") as pool:
            ahead: deque[Future[list[Finding]]] = deque()
            while True:
                while len(ahead) <= self.lanes and (some := list(islice(frames, batch))):
                    ahead.append(pool.submit(self._at_batch, some))
                if not ahead:
                    return
                yield from ahead.popleft().result()

    def _at_batch(self, frames: Sequence[Frame]) -> list[Finding]:
        nothing, nobody = [Detections.empty()] * len(frames), [Faces.empty()] * len(frames)
        all_objects = self.detector.detect(frames) if self.detector else nothing
        all_faces = self.faces.find(frames) if self.faces else nobody
        found = []
        for frame, objects, faces in zip(frames, all_objects, all_faces, strict=True):
            kept = objects[objects.score >= self.min_score]
            seen = faces[faces.score >= self.min_score]
            found.append(Finding(frame, kept, self._labels(kept), seen))
        return found

    def _labels(self, objects: Detections) -> tuple[str, ...]:
        classes = self.detector.classes if self.detector else ()
        return tuple(classes[number] for number in objects.class_id)


# --- printing ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What was found in one file, over all its frames."""

    frames: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    faces: int = 0

    def add(self, finding: Finding) -> None:
        """Count one frame."""
        self.frames += 1
        self.objects.update(finding.labels)
        self.faces += len(finding.faces)


def _print_lines(findings: Iterator[Finding]) -> None:
    for finding in findings:
        sys.stdout.write(line(finding) + "\n")
    sys.stdout.flush()


def line(finding: Finding) -> str:
    """A finding as one line of JSON; boxes are xyxy in pixels of the source image."""
    width, height = finding.frame.size_wh
    objects, faces = finding.objects, finding.faces
    return json.dumps(
        {
            "path": finding.frame.camera,
            "frame": finding.frame.seq,
            "width": width,
            "height": height,
            "objects": [
                {"label": label, "score": round(score, 5), "box": _rounded(box)}
                for label, score, box in zip(
                    finding.labels, objects.score.tolist(), objects.xyxy.tolist(), strict=True
                )
            ],
            "faces": [
                {
                    "score": round(score, 5),
                    "box": _rounded(box),
                    "landmarks": [_rounded(point) for point in points],
                }
                for score, box, points in zip(
                    faces.score.tolist(),
                    faces.xyxy.tolist(),
                    faces.landmarks.tolist(),
                    strict=True,
                )
            ],
        },
        ensure_ascii=False,
    )


def _rounded(pixels: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in pixels]


def _table(findings: Iterator[Finding]) -> Table:
    tallies: dict[str, Tally] = {}
    for finding in findings:
        tallies.setdefault(finding.frame.camera, Tally()).add(finding)
    table = Table(Column("path", overflow="fold"), "frames", "objects", "faces")
    for path, tally in tallies.items():
        objects = ", ".join(f"{label} {count}" for label, count in tally.objects.most_common())
        table.add_row(Text(path), str(tally.frames), Text(objects), str(tally.faces))
    return table


def _report(media: Media) -> None:
    if not media.files:
        typer.echo("no pictures or videos there", err=True)
    if media.skipped:
        reasons = "\n  ".join(media.skipped)
        typer.echo(f"skipped {len(media.skipped)} of {len(media.files)}: {reasons}", err=True)


def _with_progress(findings: Iterator[Finding], media: Media) -> Iterator[Finding]:
    """The same findings; a bar on standard error once they take longer than ``PATIENCE_S``."""
    console = Console(stderr=True)
    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[frames]} frames"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # it would send our lines to standard error
        disable=not console.is_terminal,
    )
    task = progress.add_task("", total=len(media.files), frames=0)
    begin_s = time.monotonic() + PATIENCE_S
    with ExitStack() as stack:
        for finding in findings:
            progress.update(task, completed=media.done + len(media.skipped), frames=media.frames)
            if begin_s and time.monotonic() > begin_s:
                begin_s = 0
                stack.enter_context(progress)
            yield finding


# --- drawing ----------------------------------------------------------------------------------


def _drawn(findings: Iterator[Finding], folder: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """The same findings; each is also drawn into ``folder``, laid out like ``files``."""
    root = Path(os.path.commonpath([path.absolute().parent for path in files] or [Path()]))
    for finding in findings:
        frame, objects, faces = finding.frame, finding.objects, finding.faces
        captions = [
            f"{label} {score:.2f}"
            for label, score in zip(finding.labels, objects.score, strict=True)
        ]
        drawn = draw(to_rgb(frame.picture), objects.xyxy, captions, faces.xyxy, faces.landmarks)
        path = folder / drawn_name(Path(frame.camera).absolute().relative_to(root), frame.seq)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(drawn, path)
        yield finding


def drawn_name(path: Path, frame: int) -> Path:
    """``a.jpg`` stays, ``a.png`` -> ``a.png.jpg``, ``a.mp4`` -> ``a.mp4-000012.jpg``."""
    if path.suffix.lower() in VIDEOS:
        return path.with_name(f"{path.name}-{frame:06d}.jpg")
    return path if path.suffix.lower() == ".jpg" else path.with_name(f"{path.name}.jpg")
