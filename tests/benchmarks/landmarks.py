"""Do 68 points help? Alignment, head direction, eyes and mouth, with them and as it is now.

Run: ``python -m tests.benchmarks.landmarks MODEL [--data ../shared/data]``, MODEL as
``edge-deploy export`` wrote it of ``edge-train landmarks ../shared/data/ytf_dev``. Measured
on the fifth of the people that no trainer is shown, in faces that zoo:faces-nano finds, its five
points found again in a close-up as by the daemon. Intervals are of 95 %, by drawing
people; a difference is drawn with the same people on both sides.

- Alignment: TAR at FAR 1e-3 of zoo:embed-nano across videos, of pictures and of tracks, whose
  pictures are fused; and of the gray portraits of faces_orl, which no trainer was shown either.
- Head direction: AUROC of left, ahead and right, as named by the labeled 68 points
  (`tests.support.class_tables`; what lies between is left out). The same rule on the points found
  has an advantage: it is the rule of the labels.
- Eyes: correlation of what is measured with the height over width of the labeled eyes, over all
  faces and within videos, where only the eyes change; of the labels, that of the left with the
  right eye, which blink together. Beside it what the blink witness measures.
- Mouth: AUROC of open against closed mouths, as named by the labeled points.

The labels were made by a program and rounded to a grid; its noise is part of every figure.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.models.contract import load_model
from edge.models.landmarks import ContractLandmarks
from edge.models.paths import get_zoo_folder, resolve_model
from edge.people.liveness.blink import measure_opening
from edge.people.recognition.close_up import FoundFace, refine_landmarks
from edge.people.recognition.face_quality import assess, estimate_pose
from edge.ports import FaceFinder
from edge.runtimes.onnx import Options, build
from edge.types import F32, I64, U8, Frame, RgbPicture
from edge.vision.face_crops import align_face
from edge.vision.image_file import read_picture
from tests.support.class_tables import measure_mouths, name_head, name_mouth
from trainers.data.face_points import read_face_points
from trainers.data.points68 import measure_eye_openings, measure_turns, select_five
from trainers.evaluation.landmarks import LandmarkResult, compute_mean_shape, evaluate_landmarks
from trainers.metrics.verification import Pairs, across_videos, auc, fuse_videos, tar_at

FAR, DRAWS = 1e-3, 500
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
Measure = Callable[[I64], float]  # of how often each person is drawn


def compare(name: str, measures: dict[str, Measure], people: int) -> None:
    """Print a line for each measure, with its difference from the first one."""
    rng = np.random.default_rng(0)
    once = np.ones(people, np.int64)
    draws = [np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(DRAWS)]
    drawn = {
        way: np.array([measure(times) for times in draws]) for way, measure in measures.items()
    }
    first = next(iter(measures))
    for way, measure in measures.items():
        low, high = np.nanquantile(drawn[way], [0.025, 0.975])
        line = f"{name}: {way}: {measure(once):.3f} ({low:.3f} to {high:.3f})"
        if way != first:
            low, high = np.nanquantile(drawn[way] - drawn[first], [0.025, 0.975])
            difference = measure(once) - measures[first](once)
            line += f", {difference:+.3f} ({low:+.3f} to {high:+.3f}) to the first"
        print(line, flush=True)


# --- alignment ------------------------------------------------------------------------------------


def measure_tar(pairs: Pairs) -> Measure:
    """TAR at `FAR`; see `trainers.metrics.verification.bootstrap`."""

    def measure(times: I64) -> float:
        genuine = np.repeat(pairs.genuine, times[pairs.genuine_person])
        first, second = pairs.impostor_people.T
        return tar_at(genuine, np.repeat(pairs.impostor, times[first] * times[second]), FAR)

    return measure


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """N faces of known people, and their five points as each way finds them.

    Attributes:
        person: ``(N,)`` index of the person.
        video: ``(N,)`` index of the video, unique over all people.
        fives: ``(N, 5, 2)`` by the name of the way.
    """

    images: Sequence[U8]
    person: I64
    video: I64
    fives: dict[str, F32]


def list_ways(five: F32, points: F32) -> dict[str, F32]:
    """Five points as they are found now, and with the 68."""
    derived = select_five(points)
    return {
        "five of faces-nano": five, "five of the 68": derived, "mean of both": (five + derived) / 2
    }  # fmt: skip


def read_gray_faces(folder: Path, model: ContractLandmarks, finder: FaceFinder) -> Faces:
    """The pictures of DIR/NAME/* with a face; each counts as a video of its own."""
    images, people, five, points = list[U8](), list[str](), list[F32](), list[F32]()
    for path in sorted(folder.glob("*/*.*")):
        small = read_picture(path).rgb
        high, wide = small.shape[0] // 4, small.shape[1] // 4  # faces fill these pictures
        picture = RgbPicture(np.pad(small, ((high, high), (wide, wide), (0, 0))))
        frame = Frame("", 0, 0, 0.0, 0.0, picture)
        [found] = finder.find([frame])
        if len(found):
            face = FoundFace(frame, found.xyxy[0], found.landmarks[0])
            five.append(refine_landmarks(finder, [face])[0])
            points.append(model.find_in(picture, five[-1][None])[0])
            images.append(picture.rgb)
            people.append(path.parent.name)
    _, person = np.unique(people, return_inverse=True)
    ways = list_ways(np.stack(five), np.stack(points))
    return Faces(images, person, np.arange(len(people)), ways)


def compare_alignments(name: str, faces: Faces, *, tracks: bool = False) -> None:
    """Print TAR with faces aligned by each way of finding five points."""
    embedder = load_model("embed", build(Options()), resolve_model("zoo:embed-nano", Path()))
    measures = {}
    for way, fives in faces.fives.items():
        crops = np.stack([
            align_face(RgbPicture(image), five, resampling=embedder.resampling)
            for image, five in zip(faces.images, fives, strict=True)
        ])  # fmt: skip
        embeddings = embedder.embed(crops)
        measures[way] = measure_tar(across_videos(embeddings, faces.person, faces.video))
        if tracks:
            quality = assess(fives, crops).value
            fused = fuse_videos(embeddings, faces.person, faces.video, quality)
            measures[f"{way}, tracks"] = measure_tar(across_videos(*fused))
    people = int(faces.person.max()) + 1
    for ending in ("", ", tracks") if tracks else ("",):
        chosen = {f"{way}{ending}": measures[f"{way}{ending}"] for way in faces.fives}
        compare(f"{name}, TAR at FAR 1e-3, aligned by", chosen, people)


# --- head, eyes, mouth ----------------------------------------------------------------------------


def measure_auroc(score: F32, positive: np.ndarray, person: I64) -> Measure:
    """AUROC of a score."""

    def measure(times: I64) -> float:
        count = times[person]
        return auc(
            np.repeat(score[positive], count[positive]),
            np.repeat(score[~positive], count[~positive]),
        )

    return measure


def measure_correlation(one: F32, other: F32, person: I64) -> Measure:
    """Pearson's correlation."""

    def measure(times: I64) -> float:
        rows = np.repeat(np.arange(len(one)), times[person])
        return float(np.corrcoef(one[rows], other[rows])[0, 1])

    return measure


def compare_heads(result: LandmarkResult, person: I64) -> None:
    """Print AUROC of each direction."""
    names = np.array([name_head(turn) for turn in measure_turns(result.faces.points).tolist()])
    known = names != ""
    scores = {
        "yaw from five points": estimate_pose(result.five).yaw_deg,
        "yaw from five of the 68": estimate_pose(select_five(result.points)).yaw_deg,
        "nose and jaw of the 68": measure_turns(result.points),
    }
    for name, direct in (
        ("left", np.negative),
        ("ahead", lambda x: -np.abs(x)),
        ("right", np.copy),
    ):
        measures = {
            way: measure_auroc(direct(score[known]), names[known] == name, person[known])
            for way, score in scores.items()
        }
        count = int((names == name).sum())
        compare(f"AUROC of {name} ({count} of {known.sum()})", measures, int(person.max()) + 1)


def _center(values: F32, videos: I64) -> F32:
    """Values less the mean of their video."""
    mean = np.bincount(videos, values) / np.maximum(np.bincount(videos), 1)
    return np.asarray(values - mean[videos], np.float32)


def compare_eyes(result: LandmarkResult, images: Sequence[U8], videos: I64, person: I64) -> None:
    """Print correlations with the opening of the labeled eyes, means of both."""
    crops = [align_face(RgbPicture(i), p) for i, p in zip(images, result.five, strict=True)]
    dark = np.stack([measure_opening(crop.astype(np.float32) @ _LUMA) for crop in crops])
    eyes = measure_eye_openings(result.faces.points)
    labeled = eyes.mean(axis=1)
    ways = {
        "darkness, as the blink witness": dark.mean(axis=1),
        "eyes of the 68": measure_eye_openings(result.points).mean(axis=1),
    }
    for where, change in (
        ("all faces", lambda values: values),
        ("within videos", lambda values: _center(values, videos)),
    ):
        measures = {
            way: measure_correlation(change(values), change(labeled), person)
            for way, values in ways.items()
        }
        both = [change(eyes[:, n]) for n in (0, 1)]
        measures["(left with right labeled eye)"] = measure_correlation(both[0], both[1], person)
        compare(f"correlation of eye openings, {where}", measures, int(person.max()) + 1)


def compare_mouths(result: LandmarkResult, person: I64) -> None:
    """Print the AUROC of open mouths."""
    names = np.array([name_mouth(m) for m in measure_mouths(result.faces.points).tolist()])
    known = names != ""
    measured = measure_mouths(result.points)
    way = measure_auroc(measured[known], names[known] == "open", person[known])
    count = int((names == "open").sum())
    measures = {"lips of the 68": way}
    compare(f"AUROC of open mouths ({count} of {known.sum()})", measures, int(person.max()) + 1)


def time_model(model: ContractLandmarks, image: U8, five: F32, rounds: int = 200) -> None:
    """Print CPU milliseconds a face on one thread, of the network and of all."""
    picture = RgbPicture(image)
    crop = model.crop(picture, five)[None]
    for name, work in (
        ("the network", lambda: model.find(crop)),
        ("with its crop", lambda: model.find_in(picture, five[None])),
    ):
        spent = []
        for _ in range(rounds):
            begun = time.process_time()
            work()
            spent.append(time.process_time() - begun)
        print(f"{name}: {1e3 * np.median(spent):.2f} ms of CPU a face on one thread")


def read_videos(data: Path, result: LandmarkResult) -> I64:
    """``(N,)`` index of the video of each face, unique over all people."""
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        videos = {row["file"]: (row["identity"], row["video"]) for row in csv.DictReader(file)}
    names = [e.path.relative_to(data / "images").as_posix() for e in result.faces.examples]
    known = sorted({videos[name] for name in names})
    return np.array([known.index(videos[name]) for name in names], np.int64)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    runtime = build(Options(workers=1, threads=1))
    model = load_model("landmarks", runtime, given.model)
    zoo = resolve_model("zoo:faces-nano", get_zoo_folder())
    data = given.data / "ytf_dev"
    shown, held = read_face_points(data).split(0.2, 0)
    finder = load_model("faces", build(Options()), zoo)
    result = evaluate_landmarks(model, held, finder, compute_mean_shape(shown))
    for name, figure in result.figures.items():
        print(f"{name}: {figure}, {figure.n} faces", flush=True)
    images = [example.load().image for example in result.faces.examples]
    videos = read_videos(data, result)
    _, person = np.unique([e.group for e in result.faces.examples], return_inverse=True)
    ways = list_ways(result.five, result.points)
    ways["five of the labels"] = select_five(result.faces.points)
    compare_alignments("television", Faces(images, person, videos, ways), tracks=True)
    gray = read_gray_faces(given.data / "faces_orl", model, finder)
    compare_alignments(f"{len(gray.person)} gray portraits", gray)
    compare_heads(result, person)
    compare_eyes(result, images, videos, person)
    compare_mouths(result, person)
    time_model(model, images[0], result.five[0])


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main()
