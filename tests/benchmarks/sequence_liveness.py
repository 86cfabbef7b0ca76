"""Does liveness gain by convolutions over time, against the mean of as many single looks?

Run: ``python -m tests.benchmarks.sequence_liveness [--data ../shared/data] [--every 3]
[--epochs 4] [--out build/sequence_liveness]``. A run that is there is judged, not trained anew.

Trains ``conv1d`` (on the features of zoo:liveness-nano, which stay as they are) and ``conv3d``
(from nothing) on turning heads and on simulated attacks that show them, five frames a second, as
``edge-train liveness --turn-heads --over-time WAY --frames 5`` does, on every third picture of
ytf_dev. All are judged on people whom none has learned from, at one and the same BPCER, and on the
real clips at hand. Bounds are 95 %, by drawing people.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge import plugins
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.types import F32, U8, Frame, RgbPicture
from edge.vision import boxes
from trainers.data import image_file
from trainers.data.near_duplicates import split_dataset
from trainers.data.read import read_face_dataset
from trainers.liveness import LivenessJob, train_liveness, wrap_network
from trainers.metrics import pad
from trainers.networks.config import LivenessConfig
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings
from trainers.spoofing.attacks import ALL, Clip
from trainers.spoofing.clips import (
    ClipScorer,
    LiveFaces,
    build_pad_set,
    cut_crops,
    load_clip_scorer,
    read_scenes,
)

FRAMES = 5
FPS = 5.0
TRACKS = 100  # of people held back
BPCERS = (0.02, 0.05, 0.1)
SINGLE = LivenessConfig(resampling="bilinear")
WAYS = {"conv1d": "scale0,scale1", "conv3d": "none"}  # what is frozen


def thin(data: Path, out: Path, every: int) -> Path:
    """A data set of every n-th picture of another one."""
    out.mkdir(parents=True, exist_ok=True)
    images = out / "images"
    if not images.exists():
        images.symlink_to((data / "images").resolve())
    with (data / "labels.csv").open() as file:
        rows = list(csv.reader(file))
    with (out / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *rows[1::every]])
    return out


def configure(way: str) -> LivenessConfig:
    """The network of a way."""
    return LivenessConfig(frames=FRAMES, over_time=way, resampling="bilinear")


def train(way: str, data: Path, scenes: Path, epochs: int, out: Path) -> RunFolder:
    """Train one, unless that was done."""
    if (out / "best.keras").is_file():
        return RunFolder.open(out)
    job = LivenessJob(
        data=(data,), scenes=(scenes,), out=out, config=configure(way), turn_heads=True,
        start=resolve_model("zoo:liveness-nano", get_zoo_folder()) if way == "conv1d" else None,
        settings=Settings(
            epochs=epochs, batch=32, learning_rate=1e-3, freeze=WAYS[way], warmup_epochs=0.3
        ),
    )  # fmt: skip
    return train_liveness(job, verbose=2)


def judge_simulated(scorers: Mapping[str, ClipScorer], data: Path, scenes: Path) -> None:
    """Print APCER by kind of all, at the same shares of the living refused."""
    _, held = split_dataset(read_face_dataset(data), 0.2)
    people = LiveFaces(held, turns_heads=True)
    config = replace(SINGLE, frames=FRAMES, over_time="conv1d")
    clips = build_pad_set(people, config, tuple(ALL), read_scenes([scenes]), TRACKS, frames=1)
    live = clips.kind.count(pad.LIVE)
    print(f"\n{live} turning heads and as many attacks of each kind, {FRAMES} frames each")
    scores = {name: score(clips.clips) for name, score in scorers.items()}
    for bpcer in BPCERS:
        found = {
            name: pad.compute_pad_metrics(
                score, clips.kind, pad.find_threshold(score, clips.kind, bpcer), clips.person
            )
            for name, score in scores.items()
        }
        print(f"\n| BPCER {bpcer:.0%} | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
        for kind in ALL:
            row = " | ".join(str(metrics.apcer[kind]) for metrics in found.values())
            print(f"| APCER {kind} | {row} |")
        means = [np.mean([rate.value for rate in m.apcer.values()]) for m in found.values()]
        print(f"| mean of the kinds | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)
    for name, score in scores.items():
        at_half = pad.compute_pad_metrics(score, clips.kind, 0.5, clips.person)
        print(f"{name}, from 0.5 on: BPCER {at_half.bpcer}")


def list_real(data: Path) -> Iterator[tuple[str, U8]]:
    """The living faces of the film, five looks each, and the two pictures of a face."""
    runtime = plugins.create("runtimes", {"kind": "onnx", "threads": 1})
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", get_zoo_folder()))

    def find(rgb: U8) -> F32:
        (faces,) = finder.find([Frame("film", 1, 0, 0.0, 0.0, RgbPicture(rgb))])
        sides = faces.xyxy[:, 2:] - faces.xyxy[:, :2]
        return faces.xyxy[(faces.score >= 0.7) & (sides.min(1) >= 30)]

    config = replace(SINGLE, frames=FRAMES, over_time="conv1d")
    film = cv2.VideoCapture(str(data / "gallery_video" / "short_hamilton_clip.mp4"))
    step = max(1, round(film.get(cv2.CAP_PROP_FPS) / FPS))
    looks: list[tuple[U8, F32]] = []
    number = 0
    while film.grab():
        if number % step == 0:
            rgb = np.ascontiguousarray(film.retrieve()[1][..., ::-1])
            looks.append((rgb, find(rgb)))
        number += 1
    for first in range(len(looks) - FRAMES + 1):
        part = looks[first : first + FRAMES]
        for box in part[0][1]:
            path = [box]
            for _, xyxy in part[1:]:
                overlap = boxes.iou(path[-1][None], xyxy)[0]
                if not len(overlap) or overlap.max() < 0.3:
                    break
                path.append(xyxy[int(overlap.argmax())])
            if len(path) == FRAMES:
                clip = Clip(tuple(rgb for rgb, _ in part), np.stack(path))
                yield "film, alive", cut_crops(clip, config)
    for name, file in (("T1, alive", "image_T1.jpg"), ("F1, a screen", "image_F1.jpg")):
        rgb = image_file.read(data / "liveness" / file).rgb
        (box,) = find(rgb)[:1]
        yield name, cut_crops(Clip((rgb,) * FRAMES, np.tile(box, (FRAMES, 1))), config)


def judge_real(scorers: Mapping[str, ClipScorer], data: Path) -> None:
    """Print what is said of the real clips at hand."""
    names, clips = zip(*list_real(data), strict=True)
    for name, score in scorers.items():
        said = score(np.stack(clips))
        film = said[[n == "film, alive" for n in names]]
        refused = pad.wilson(int((film < 0.5).sum()), len(film))
        print(f"{name}: film, BPCER {refused}; T1 {said[-2]:.2f}, F1 {said[-1]:.2f}", flush=True)


def main() -> None:
    """Train what is not there yet, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=3, help="learn from every n-th picture")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("build/sequence_liveness"))
    options = parser.parse_args()
    data, scenes = options.data / "ytf_dev", options.data / "coco_dev" / "images"
    thinned = thin(data, options.out / "data", options.every)
    config = replace(SINGLE, frames=FRAMES, over_time="conv1d")
    nano = resolve_model("zoo:liveness-nano", get_zoo_folder())
    scorers = {"mean of five looks": load_clip_scorer(nano, config)}
    for way in WAYS:
        run = train(way, thinned, scenes, options.epochs, options.out / way)
        scorers[way] = wrap_network(run.load())
    judge_simulated(scorers, data, scenes)
    judge_real(scorers, options.data)


if __name__ == "__main__":
    main()
