"""What the resampling of crops does to a liveness model: the same faces and boxes, two resizes.

Run: ``python -m tests.benchmarks.liveness_crops MODEL.. [--data ../shared/data]``. For each model,
how many living faces of the gallery's film (those of 30 pixels and more that zoo:faces-nano finds)
it takes for pictures, what it says of the one living face and of the one screen, and what a crop
costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import get_args

import numpy as np

from edge.models.contract import load_model
from edge.models.faces import ContractFaceFinder
from edge.models.paths import resolve_model
from edge.runtimes.onnx import Options, build
from edge.sources import video_file
from edge.types import F32, Frame, Picture, Resampling
from edge.vision.face_crops import crop_wide
from edge.vision.image_file import read_picture

FILM = "gallery_video/short_hamilton_clip.mp4"
LEAST_PX = 30
Looks = list[tuple[Picture, F32]]


def film(path: Path) -> Iterator[Picture]:
    """Every frame of a film, as its decoder gives it."""
    source = video_file.build(video_file.Options(path=str(path), every_frame=True))
    with source.connect(Event()) as captures:
        for capture in captures:
            yield capture.picture


def find(finder: ContractFaceFinder, picture: Picture) -> Looks:
    """A picture with the box of each face in it."""
    faces = finder.find([Frame("", 0, 0, 0.0, 0.0, picture)])[0]
    sides = np.sqrt((faces.xyxy[:, 2:] - faces.xyxy[:, :2]).prod(1))
    chosen = (faces.score >= 0.7) & (sides >= LEAST_PX)
    return [(picture, box) for box in faces.xyxy[chosen]]


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    runtime = build(Options(threads=1))
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", Path()))
    sources = {
        "film": [look for picture in film(given.data / FILM) for look in find(finder, picture)],
        **{
            name: find(finder, read_picture(given.data / "liveness" / f"{name}.jpg"))
            for name in ("image_T1", "image_F1")
        },
    }
    for path in given.models:
        model = load_model("liveness", runtime, resolve_model(path, Path()))
        for resampling in get_args(Resampling):
            mark = " (its own)" if resampling == model.manifest.resampling else ""
            print(f"{path}, {resampling}{mark}")
            for name, looks in sources.items():
                start = time.process_time()
                clips = [
                    np.stack([crop_wide(picture, box, scale, model.manifest.input_wh, resampling)
                              for scale in model.manifest.crop_scales])
                    for picture, box in looks
                ]  # fmt: skip
                spent_ms = (time.process_time() - start) * 1e3 / len(looks)
                live = model.live(np.stack(clips))
                print(
                    f"  {name}: {len(live)} faces, mean {live.mean():.3f}, below 0.5 "
                    f"{np.mean(live < 0.5):.3f}, below 0.3 {np.mean(live < 0.3):.3f}; "
                    f"crops {spent_ms:.2f} ms a face"
                )


if __name__ == "__main__":
    main()
