"""Does a calibrated gallery let through as many strangers as was asked for?

Run: ``python -m tests.benchmarks.calibration FACES EMBEDDER [SPLITS]``, FACES a folder with
labels.csv (file, identity) and images/, EMBEDDER a contract model. Goal: for 10, 100 and 200
people the realised false-positive identification rate is 0.5 to 1.5 times the one asked for.

People are split at random, again and again, into a gallery (one template each), those it is
calibrated with, and strangers, whose rates are averaged. The interval is that of the mean over
strangers (95 %, each with all the splits it was a stranger in): pictures of one person, and splits
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
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.face_quality import LOOK
from edge.people.recognition.threshold import Calibration, Tail, compare_strangers

ROUNDS = ((10, 50), (100, 50), (200, 25))  # people in the gallery, people to calibrate with
ASKED = (0.1, 0.01)


def embedded(folder: Path, model: str) -> list[np.ndarray]:
    """``(t, D)`` of each person's pictures that pass the gate."""
    finder, embedder = load_models(FACES, model)
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            try:
                crop = read_face(finder, folder / "images" / row["file"], LOOK).crop
            except PhotoError:
                continue
            groups[row["identity"]].append(embedder.embed(crop[None])[0])
    return [np.stack(pictures) for pictures in groups.values()]


def measure(people: list[np.ndarray], size: int, helpers: int, splits: int) -> None:
    """Print realised over asked rates of galleries of one size."""
    rng = np.random.default_rng(size)
    of_stranger: dict[tuple[float, int], list[float]] = defaultdict(list)
    of_gallery: dict[float, list[float]] = defaultdict(list)
    for _ in range(splits):
        order = rng.permutation(len(people))
        known, helping, strangers = np.split(order, [size, size + helpers])
        templates = [people[row][rng.integers(len(people[row]))][None] for row in known]
        index = Index.build([IndexedPerson(str(row), str(row)) for row in known], templates)
        tail = Tail.fit_conservatively(compare_strangers(index, [people[row] for row in helping]))
        best = {row: (people[row] @ np.concatenate(templates).T).max(axis=1) for row in strangers}
        for asked in ASKED:
            threshold = Calibration(tail, asked).threshold(size)
            rates = {row: float(np.mean(near >= threshold)) / asked for row, near in best.items()}
            of_gallery[asked].append(float(np.mean(list(rates.values()))))
            for row, rate in rates.items():
                of_stranger[asked, int(row)].append(rate)
    for asked in ASKED:
        each = np.array([np.mean(v) for (rate, _), v in of_stranger.items() if rate == asked])
        half = 1.96 * each.std() / np.sqrt(len(each))
        single = np.array(of_gallery[asked])
        inside = np.mean((single >= 0.5) & (single <= 1.5))
        print(
            f"{size} people, asked {asked:.0%}: realised {each.mean():.2f} times that "
            f"({max(0, each.mean() - half):.2f} to {each.mean() + half:.2f}); of single galleries "
            f"{inside:.0%} within 0.5 to 1.5",
            flush=True,
        )


if __name__ == "__main__":
    given = embedded(Path(sys.argv[1]), sys.argv[2])
    print(f"{len(given)} people, {sum(map(len, given))} pictures", flush=True)
    for gallery_size, helping_people in ROUNDS:
        measure(given, gallery_size, helping_people, int((*sys.argv, "100")[3]))
