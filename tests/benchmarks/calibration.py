"""Does a calibrated gallery let through as many strangers as was requested?

Run: ``python -m tests.benchmarks.calibration FACES EMBEDDER [SPLITS]``, FACES a folder with
labels.csv (file, identity, video) and images/, EMBEDDER a contract model. Goal: for 10, 100 and 200
people the realized false-positive identification rate is 0.5 to 1.5 times the requested one, of
tracks (the frames of a video, fused). That of single pictures is printed beside it: a threshold for
tracks is not meant for them.

People are split at random, again and again, into a gallery (the frames of one video each), those it
is calibrated with, and strangers, whose rates are averaged. The interval is that of the mean over
strangers (95 %, each with all the splits it was a stranger in): tracks of one person, and splits
of the same people, are no independent trials, and a dozen splits say little at 1 %.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from edge.cli.options import FACES, load_models
from edge.people.enrollment.face_photo import PhotoError, read_face
from edge.people.fusion import fuse
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.face_quality import LOOK
from edge.people.recognition.threshold import Calibration, Tail, compare_tracks

ROUNDS = ((10, 50), (100, 50), (200, 25))  # people in the gallery, people to calibrate with
REQUESTED = (0.1, 0.01)
MIN_FRAMES = 3  # of a track, as `min_votes` asks

People = list[list[np.ndarray]]  # of each person, of each video: ``(t, D)``


def embed(folder: Path, model: str) -> People:
    """Embeddings of the pictures that pass the gate, of the videos that have enough."""
    finder, embedder = load_models(FACES, model)
    videos: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            path = folder / "images" / row["file"]
            try:
                crop = read_face(finder, path, LOOK, embedder.resampling).crop
            except PhotoError:
                continue
            videos[row["identity"], row["video"]].append(embedder.embed(crop[None])[0])
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    for (name, _), frames in videos.items():
        if len(frames) >= MIN_FRAMES:
            groups[name].append(np.stack(frames))
    return list(groups.values())


def measure(people: People, size: int, helpers: int, splits: int) -> None:
    """Print realized over requested rates of galleries of one size."""
    rng = np.random.default_rng(size)
    tracks = [np.stack([fuse(video) for video in videos]) for videos in people]
    pictures = [np.concatenate(videos) for videos in people]
    of_stranger: dict[tuple[float, str, int], list[float]] = defaultdict(list)
    of_gallery: dict[float, list[float]] = defaultdict(list)
    for _ in range(splits):
        order = rng.permutation(len(people))
        known, helping, strangers = np.split(order, [size, size + helpers])
        templates = [people[row][rng.integers(len(people[row]))] for row in known]
        index = Index.build([IndexedPerson(str(row), str(row)) for row in known], templates)
        tail = Tail.fit_conservatively(compare_tracks(index, [tracks[row] for row in helping]))
        for requested in REQUESTED:
            threshold, rates = Calibration(tail, requested).threshold(size), []
            for row in strangers:
                for kind, probes in (("tracks", tracks[row]), ("pictures", pictures[row])):
                    near = (probes @ index.fused.T).max(axis=1)
                    rate = float(np.mean(near >= threshold)) / requested
                    of_stranger[requested, kind, int(row)].append(rate)
                    rates += [rate] if kind == "tracks" else []
            of_gallery[requested].append(float(np.mean(rates)))
    for requested in REQUESTED:
        said = []
        for kind in ("tracks", "pictures"):
            each = np.array([
                np.mean(v) for (r, k, _), v in of_stranger.items() if (r, k) == (requested, kind)
            ])  # fmt: skip
            half = 1.96 * each.std() / np.sqrt(len(each))
            low, high = max(0, each.mean() - half), each.mean() + half
            said.append(f"{kind} {each.mean():.2f} ({low:.2f} to {high:.2f})")
        single = np.array(of_gallery[requested])
        inside = np.mean((single >= 0.5) & (single <= 1.5))
        print(
            f"{size} people, requested {requested:.0%}, realized over that: {', '.join(said)}; of "
            f"single galleries {inside:.0%} within 0.5 to 1.5",
            flush=True,
        )


if __name__ == "__main__":
    given = embed(Path(sys.argv[1]), sys.argv[2])
    count = sum(map(len, given))
    print(f"{len(given)} people, {count} videos of {MIN_FRAMES} frames or more", flush=True)
    for gallery_size, helping_people in ROUNDS:
        measure(given, gallery_size, helping_people, int((*sys.argv, "100")[3]))
