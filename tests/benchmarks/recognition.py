"""What recognition adds to a frame: the pipeline with and without it, in turn, in one process.

Run: ``python -m tests.benchmarks.recognition VIDEO EMBEDDER LIVENESS [TURNS]``. The first five
seconds or less of VIDEO in which exactly one face is seen in each frame are looked at as a
camera of ten frames a second, again and again; a stranger, for whom the gallery of 100 people is
searched. Goal: CPU time a frame at most 1.25 times that of detector and face finder alone, both
of the zoo, on one thread. Decoding and publishing, which the daemon does besides, are left out:
there the share is smaller.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from edge import plugins
from edge.config import Camera, Recognition
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.recognizer import Recognizer
from edge.pipeline import Pipeline
from edge.ports import FaceFinder
from edge.types import Frame, Picture
from tests.support.gallery import faces

FPS = 10
MOST = 50  # frames


def one_face(video: str, finder: FaceFinder) -> list[Picture]:
    """The longest run of frames with one face, at ten frames a second."""
    table = {"kind": "video_file", "path": video, "every_frame": True}
    best: list[Picture] = []
    run: list[Picture] = []
    with plugins.create("sources", table).connect(threading.Event()) as captures:
        for capture in itertools.islice(captures, 0, 1500, 3):  # of 30 a second
            alone = len(finder.find([Frame("", 0, 0, 0.0, 0.0, capture.picture)])[0]) == 1
            run = [*run, capture.picture] if alone else []
            best = max(best, run, key=len)
    return best[:MOST]


def cpu_s(pipeline: Pipeline, pictures: list[Picture], begun_s: float) -> float:
    """CPU seconds a frame of looking at the pictures once."""
    frames = [
        Frame("hall", 1, n, begun_s + n / FPS, begun_s + n / FPS, picture)
        for n, picture in enumerate(pictures)
    ]
    begun = time.process_time()
    for frame in frames:
        pipeline.step([frame])
    return (time.process_time() - begun) / len(frames)


def main(video: str, embedder: str, liveness: str, turns: int = 15) -> None:
    """Print the ratio, turn by turn with and without."""
    runtime = plugins.create("runtimes", {"kind": "onnx", "workers": 1, "threads": 1})
    detector = load_model("detect", runtime, resolve_model("zoo:detect-nano", Path()))
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", Path()))
    described = load_model("embed", runtime, resolve_model(embedder, Path()))
    ids = itertools.count(1)
    rules = {"gallery": "g", "key_file": "k", "embedder": "e"}
    recognizer = Recognizer(
        Recognition.model_validate(rules),
        described,
        load_model("liveness", runtime, resolve_model(liveness, Path())),
        ids,
        finder,
    )
    people = [IndexedPerson(str(row), str(row)) for row in range(100)]
    templates = np.split(faces(100, 0, described.dimension), 100)
    recognizer.use(Index.build(people, templates, dimension=described.dimension), 0.5)
    pipelines = Pipeline(detector, finder, ids), Pipeline(detector, finder, ids, recognizer)
    for pipeline in pipelines:
        pipeline.watch([Camera(name="hall", source={"kind": "synthetic"})])
    pictures = one_face(video, finder)
    print(f"{len(pictures)} frames of one face, {turns} turns")
    rows = np.array([
        [cpu_s(pipeline, pictures, turn * len(pictures) / FPS) * 1e3 for pipeline in pipelines]
        for turn in range(turns)
    ])[1:]  # the first one warms up  # fmt: skip
    without, with_it = np.median(rows, axis=0)
    low, middle, high = np.percentile(rows[:, 1] / rows[:, 0], [25, 50, 75])
    print(f"without {without:.2f} ms of CPU a frame, with {with_it:.2f} ms")
    print(f"ratio {middle:.3f} (middle half {low:.3f} to {high:.3f}), goal <= 1.25")


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
