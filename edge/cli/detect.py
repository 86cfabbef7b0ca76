"""`edge detect`: detect objects and faces in images, folders and every frame of videos."""

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
from rich.table import Table

from edge import plugins
from edge.cli.media import VIDEOS, Media, find_media
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.ports import Detector, FaceFinder
from edge.printable import escape_controls
from edge.types import Detections, Faces, Frame
from edge.vision.draw import draw, save_picture
from edge.vision.resize import to_rgb

SHIPPED = ("zoo:detect-nano", "zoo:faces-nano")
PROGRESS_AFTER_S = 2.0  # what takes longer gets a progress bar


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The detections in one image or frame; ``labels`` has the class name of each object."""

    frame: Frame
    objects: Detections
    labels: tuple[str, ...]
    faces: Faces


def detect(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", exists=True, help="Images, videos and folders.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image or frame.")
    ] = False,
    detector: Annotated[
        str, typer.Option(help="Object detector: a file, zoo:NAME or catalog:NAME.")
    ] = "",
    faces: Annotated[
        str, typer.Option(help="Face detector: a file, zoo:NAME or catalog:NAME.")
    ] = "",
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Minimum score (default 0.3; 0 with --json).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Images per batch.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Inference workers; 0 is one per core.")] = 0,
    draw_to: Annotated[
        Path | None,
        typer.Option("--draw", metavar="DIR", help="Write annotated JPEGs to this folder."),
    ] = None,
) -> None:
    """Detect objects and faces in PATHs.

    Without --detector and --faces the shipped models are used. The exit status is 0 when at
    least one file could be read, else 1.
    """
    if not detector and not faces:
        detector, faces = SHIPPED
    threshold = (0.0 if as_json else 0.3) if min_score is None else min_score
    models = ModelPair.load(detector, faces, workers, threshold)
    files, others = find_media(paths)
    media = Media(files)
    results = models.detect(media.read(), batch)
    if draw_to:
        results = _draw_all(results, draw_to, media.files)
    if not (as_json and sys.stdout.isatty()):  # the lines themselves show the progress
        results = _with_progress(results, media)
    try:
        if as_json:
            _print_lines(results)
        else:
            Console().print(_table(results))
    except BrokenPipeError:  # the reader is gone (`| head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    _report(media, others)
    if not media.done:
        raise typer.Exit(1)


# --- detecting --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelPair:
    """The models of one call; None where none was requested."""

    detector: Detector | None
    faces: FaceFinder | None
    min_score: float
    workers: int

    @classmethod
    def load(cls, detector: str, faces: str, workers: int, min_score: float) -> ModelPair:
        """Load models by file or zoo name.

        Raises:
            ModelError: One is missing, broken or of the wrong task.
        """
        runtime = plugins.create("runtimes", {"kind": "onnx", "workers": workers})
        base = Path()
        return cls(
            load_model("detect", runtime, resolve_model(detector, base)) if detector else None,
            load_model("faces", runtime, resolve_model(faces, base)) if faces else None,
            min_score,
            runtime.workers,
        )

    def detect(self, frames: Iterator[Frame], batch: int) -> Iterator[Result]:
        """Results in the order of the frames, ``batch`` frames at a time per worker."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="inference") as pool:
            pending: deque[Future[list[Result]]] = deque()
            while True:
                while len(pending) <= self.workers and (some := list(islice(frames, batch))):
                    pending.append(pool.submit(self._detect_batch, some))
                if not pending:
                    return
                yield from pending.popleft().result()

    def _detect_batch(self, frames: Sequence[Frame]) -> list[Result]:
        no_objects, no_faces = [Detections.empty()] * len(frames), [Faces.empty()] * len(frames)
        all_objects = self.detector.detect(frames) if self.detector else no_objects
        all_faces = self.faces.find(frames) if self.faces else no_faces
        classes = self.detector.classes if self.detector else ()
        results = []
        for frame, objects, faces in zip(frames, all_objects, all_faces, strict=True):
            objects = objects[objects.score >= self.min_score]
            faces = faces[faces.score >= self.min_score]
            labels = tuple(classes[number] for number in objects.class_id)
            results.append(Result(frame, objects, labels, faces))
        return results


# --- printing ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """The counts of one file, over all its frames."""

    frames: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    faces: int = 0

    def add(self, result: Result) -> None:
        """Count one frame."""
        self.frames += 1
        self.objects.update(result.labels)
        self.faces += len(result.faces)


def _print_lines(results: Iterator[Result]) -> None:
    for result in results:
        sys.stdout.write(format_line(result) + "\n")
    sys.stdout.flush()


def format_line(result: Result) -> str:
    """Format a result as one line of JSON; boxes are xyxy in pixels of the source image."""
    width, height = result.frame.size_wh
    objects, faces = result.objects, result.faces
    return json.dumps(
        {
            "path": result.frame.camera,
            "frame": result.frame.seq,
            "width": width,
            "height": height,
            "objects": [
                {"label": label, "score": round(score, 5), "box": _rounded(box)}
                for label, score, box in zip(
                    result.labels, objects.score.tolist(), objects.xyxy.tolist(), strict=True
                )
            ],
            "faces": [
                {
                    "score": round(score, 5),
                    "box": _rounded(box),
                    "landmarks": [_rounded(point) for point in points],
                }
                for score, box, points in zip(
                    faces.score.tolist(), faces.xyxy.tolist(), faces.landmarks.tolist(), strict=True
                )
            ],
        },
        ensure_ascii=False,
    )


def _rounded(pixels: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in pixels]


def _table(results: Iterator[Result]) -> Table:
    tallies: dict[str, Tally] = {}
    for result in results:
        tallies.setdefault(result.frame.camera, Tally()).add(result)
    table = make_table("path", "frames", "objects", "faces", right=("frames", "faces"))
    for path, tally in tallies.items():
        objects = ", ".join(f"{label} {count}" for label, count in tally.objects.most_common())
        table.add_row(to_cell(path), str(tally.frames), to_cell(objects), str(tally.faces))
    return table


def _report(media: Media, others: Counter[str]) -> None:
    if others:
        kinds = ", ".join(
            f"{count} {escape_controls(kind)}" for kind, count in sorted(others.items())
        )
        typer.echo(f"passed over, neither picture nor video: {kinds}", err=True)
    if not media.files:
        typer.echo("there are no images or videos", err=True)
    if media.skipped:
        reasons = "\n  ".join(map(escape_controls, media.skipped))
        typer.echo(f"skipped {len(media.skipped)} of {len(media.files)}: {reasons}", err=True)


def _with_progress(results: Iterator[Result], media: Media) -> Iterator[Result]:
    """Pass results on; show a bar on standard error after ``PROGRESS_AFTER_S``."""
    console = Console(stderr=True)
    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[frames]} frames"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # it would redirect our lines to standard error
        disable=not console.is_terminal,
    )
    task = progress.add_task("", total=len(media.files), frames=0)
    begin_s = time.monotonic() + PROGRESS_AFTER_S
    with ExitStack() as stack:
        for result in results:
            progress.update(task, completed=media.done + len(media.skipped), frames=media.frames)
            if begin_s and time.monotonic() > begin_s:
                begin_s = 0
                stack.enter_context(progress)
            yield result


# --- drawing ----------------------------------------------------------------------------------


def _draw_all(results: Iterator[Result], folder: Path, files: Sequence[Path]) -> Iterator[Result]:
    """The same results; each is also drawn into ``folder``, laid out like ``files``."""
    root = Path(os.path.commonpath([path.absolute().parent for path in files] or [Path()]))
    for result in results:
        frame, objects, faces = result.frame, result.objects, result.faces
        captions = [
            f"{label} {score:.2f}"
            for label, score in zip(result.labels, objects.score, strict=True)
        ]
        drawn = draw(to_rgb(frame.picture), objects.xyxy, captions, faces.xyxy, faces.landmarks)
        path = folder / drawn_name(Path(frame.camera).absolute().relative_to(root), frame.seq)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{error.strerror}: give --draw a folder", file=folder) from error
        save_picture(drawn, path)
        yield result


def drawn_name(path: Path, frame: int) -> Path:
    """``a.jpg`` stays, ``a.png`` -> ``a.png.jpg``, ``a.mp4`` -> ``a.mp4-000012.jpg``."""
    if path.suffix.lower() in VIDEOS:
        return path.with_name(f"{path.name}-{frame:06d}.jpg")
    return path if path.suffix.lower() == ".jpg" else path.with_name(f"{path.name}.jpg")
