"""What two attributes add to four cameras: the pipeline with and without them, in turn.

Run: ``python -m tests.benchmarks.attributes VIDEO [TURNS]``. Four cameras of ten frames a second
look at VIDEO, each from another moment on, frames without a person left out; two classifiers of the
size that `edge-train classifier` makes are asked of every person. They were never trained, so that
nothing is decided, which takes the most looks. Figures are CPU time a frame of detector and tracker
of the zoo on one thread, without decoding and publishing, beside which the share is smaller still.

The second line is of a crowd: a dozen people before each camera, who are new every `STAY_S`
seconds, so that the budget is what limits the looks.

Goal: at most 10 % more with the two attributes.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deploy.export.classifier import export_classifier
from deploy.graph.manifest import Provenance
from edge import plugins
from edge.classification.observer import Observer
from edge.config import Attribute, Camera, ModelFile
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.pipeline import Pipeline
from edge.ports import Detector, Runtime
from edge.types import Detections, Frame, Picture
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig

FPS = 10
CAMERAS = ("a", "b", "c", "d")
MOST = 100  # frames
DETECTOR = "zoo:detect-nano"
PEOPLE, STAY_S = 12, 5


class Crowd:
    """The detector's time, and people where there are none, in other places every few seconds."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name, self.sha256 = detector.name, detector.sha256
        self.classes, self.input_wh = detector.classes, detector.input_wh

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self._detector.detect(frames)
        return [self._place(frame) for frame in frames]

    def _place(self, frame: Frame) -> Detections:
        width, height = frame.size_wh
        shift = 0.4 * (int(frame.monotonic_s / STAY_S) % 2)
        column, row = np.arange(PEOPLE) % 6, np.arange(PEOPLE) // 6
        x1, y1 = (column / 6) * width, (shift + row / 4) * height * 0.8
        boxes = np.stack([x1, y1, x1 + width / 10, y1 + height / 6], axis=1).astype(np.float32)
        ids = np.full(PEOPLE, self.classes.index("person"), np.int32)
        return Detections(boxes, np.full(PEOPLE, 0.9, np.float32), ids)


def make_observer(runtime: Runtime, classes: tuple[str, ...], folder: Path) -> Observer:
    """Two attributes of people, each with a classifier of its own."""
    attributes, models = [], {}
    for name in ("vest", "helmet"):
        config = ClassifierConfig(("no", "yes"))
        path = folder / f"{name}.onnx"
        provenance = Provenance(name, "MIT", "nothing")
        path.write_bytes(export_classifier(classifier.build(config), config, provenance))
        file = ModelFile(path=str(path))
        models[file] = load_model("classify", runtime, path)
        attributes.append(Attribute(name=name, model=file))
    return Observer(attributes, models, classes)


def read_people(video: str, detector: Detector) -> list[Picture]:
    """Frames with a person, at ten a second."""
    person = detector.classes.index("person")
    table = {"kind": "video_file", "path": video, "every_frame": True}
    pictures: list[Picture] = []
    with plugins.create("sources", table).connect(threading.Event()) as captures:
        for capture in itertools.islice(captures, 0, 1500, 3):  # of 30 a second
            [found] = detector.detect([Frame("", 0, 0, 0.0, 0.0, capture.picture)])
            if ((found.class_id == person) & (found.score > 0.5)).any():
                pictures.append(capture.picture)
    return pictures[:MOST]


def measure_cpu_s(pipeline: Pipeline, pictures: Sequence[Picture], begun_s: float) -> float:
    """CPU seconds a frame of four cameras that look at all pictures once."""
    count = len(pictures)
    begun = time.process_time()
    for n in range(count):
        at_s = begun_s + n / FPS
        for row, camera in enumerate(CAMERAS):
            picture = pictures[(n + row * count // len(CAMERAS)) % count]
            pipeline.step([Frame(camera, 1, n, at_s, at_s, picture)])
    return (time.process_time() - begun) / (count * len(CAMERAS))


def compare(detector: Detector, observer: Observer, pictures: Sequence[Picture], turns: int) -> str:
    """Medians and their ratio, turn by turn with and without."""
    ids, looks = itertools.count(1), Counter[str]()
    observer.count = lambda name, count: looks.update({name: count})
    pipelines = Pipeline(detector, None, ids), Pipeline(detector, None, ids, observer=observer)
    for pipeline in pipelines:
        pipeline.watch([Camera(name=name, source={"kind": "synthetic"}) for name in CAMERAS])
    rows = []
    for turn in range(turns + 1):
        begun_s = turn * len(pictures) / FPS
        rows.append([1e3 * measure_cpu_s(each, pictures, begun_s) for each in pipelines])
    ms = np.array(rows[1:])  # the first one warms up
    without, with_it = np.median(ms, axis=0)
    low, middle, high = np.percentile(ms[:, 1] / ms[:, 0], [25, 50, 75])
    frames = (turns + 1) * len(pictures)
    return (
        f"{without:.2f} ms of CPU a frame, with two attributes {with_it:.2f} ms: ratio "
        f"{middle:.3f} (middle half {low:.3f} to {high:.3f}), goal <= 1.10; "
        f"{looks.total() / frames * FPS:.1f} looks a second of four cameras"
    )


def main(video: str, turns: int = 8) -> None:
    """Print a line for the people of a video, and one for a crowd."""
    runtime = plugins.create("runtimes", {"kind": "onnx", "workers": 1, "threads": 1})
    detector = load_model("detect", runtime, resolve_model(DETECTOR, Path()))
    pictures = read_people(video, detector)
    with tempfile.TemporaryDirectory() as folder:
        observer = make_observer(runtime, detector.classes, Path(folder))
        print(f"people of {len(pictures)} frames: {compare(detector, observer, pictures, turns)}")
        crowd = Crowd(detector)
        observer = make_observer(runtime, detector.classes, Path(folder))
        print(f"{PEOPLE} people each: {compare(crowd, observer, pictures, turns)}")


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main(sys.argv[1], *map(int, sys.argv[2:3]))
