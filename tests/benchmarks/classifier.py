"""What classifiers learn from the pictures at hand: vehicle kinds, the head's direction, the mouth.

Run: ``python -m tests.benchmarks.classifier vehicles|heads|mouths [--data ../shared/data]
[--out build/classifier]``.

``heads`` and ``mouths`` write a table of samples, ``OUT/NAME.csv``, for ``edge-train classifier``
and ``edge-train evaluate``: faces of ytf_dev, labeled by their landmarks, whose parts ``train``,
``val`` and ``test`` show different people. `tests.support.class_tables` has the rules.

``vehicles`` trains on the boxes of people and vehicles in coco_dev whose sides are 16 pixels and
longer: from nothing, and from zoo:detect-nano with its backbone frozen and not. Three times a third
of the pictures is held out; the last epoch is judged, not the best, and the answers about all
pictures are judged together.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.models.paths import get_zoo_folder, resolve_model
from edge.types import F32
from tests.support.class_tables import (
    KINDS,
    list_faces,
    list_vehicles,
    measure_mouths,
    name_head,
    name_mouth,
    write_table,
)
from trainers.classifier import ClassifierJob, train_classifier
from trainers.data.class_data import list_crops, read_class_data
from trainers.data.points68 import measure_turns
from trainers.input.crops import load_crops
from trainers.metrics.classes import compute_metrics, to_probabilities
from trainers.networks.config import ClassifierConfig
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

FOLDS = 3
WAYS = {  # name -> backbone, weights to start from, what is frozen
    "frozen": ("nano", "zoo:detect-nano", "backbone"),
    "unfrozen": ("nano", "zoo:detect-nano", "none"),
    "from nothing": ("slim", None, "none"),
}


def train(table: Path, way: str, out: Path) -> tuple[RunFolder, float, float]:
    """Train as ``edge-train classifier`` does; the run, its CPU seconds and its seconds.

    Only the first epoch and the last are validated, and the last is kept unless it learned nothing.
    """
    backbone, start, freeze = WAYS[way]
    config = ClassifierConfig(
        KINDS, (64, 64), backbone=backbone, activation="silu" if backbone == "nano" else "relu",
        norm="none" if start else "batch",
    )  # fmt: skip
    job = ClassifierJob(
        data=(table,), out=out, config=config, choose_epochs=True, choose_rate=True,
        start=resolve_model(start, get_zoo_folder()) if start else None,
        settings=Settings(batch=32, freeze=freeze, validate_every=10_000),
    )  # fmt: skip
    cpu_s, began_s = time.process_time(), time.monotonic()
    run = train_classifier(job)
    return run, time.process_time() - cpu_s, time.monotonic() - began_s


def judge_vehicles(out: Path) -> None:
    """Print a line for each way of training."""
    tables = [out / f"vehicles-{fold}.csv" for fold in range(FOLDS)]
    for way in WAYS:
        found, labels, groups = list[F32](), list[F32](), list[str]()
        cpu_s = wall_s = 0.0
        for fold, table in enumerate(tables):
            with tempfile.TemporaryDirectory(dir=out) as folder:
                run, spent_s, passed_s = train(table, way, Path(folder))
                network, trained = run.load_with_config(ClassifierConfig)
            held = read_class_data(table).where(lambda e: e.part == "val").select(trained.classes)
            images, truth = load_crops(held, trained)
            order = [trained.classes.index(kind) for kind in KINDS]
            logits = network.predict(images.astype(np.float32), 64, verbose=0)
            found.append(to_probabilities(logits)[:, order])
            labels.append(truth[:, order])
            groups += [held.examples[crop.example].group for crop in list_crops(held)]
            cpu_s, wall_s = cpu_s + spent_s, wall_s + passed_s
            print(f"  {way}, fold {fold}: {spent_s:.0f} CPU s", flush=True)
        metrics = compute_metrics(np.concatenate(found), np.concatenate(labels), KINDS, groups)
        low, high = metrics.interval
        print(
            f"{way}: balanced accuracy {metrics.balanced_accuracy:.3f} ({low:.3f} to {high:.3f}), "
            f"accuracy {metrics.accuracy:.3f}, {cpu_s / FOLDS:.0f} CPU s and {wall_s / FOLDS:.0f} "
            "s a training; recall "
            + ", ".join(
                f"{kind} {row[n]}/{row.sum()}"
                for n, (kind, row) in enumerate(zip(KINDS, metrics.confusion, strict=True))
            ),
            flush=True,
        )


def main() -> None:
    """Write the table that is asked for; train on vehicles, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("vehicles", "heads", "mouths"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/classifier"))
    given = parser.parse_args()
    if given.what == "vehicles":
        for fold in range(FOLDS):
            path = given.out / f"vehicles-{fold}.csv"
            told = write_table(path, list(list_vehicles(given.data, fold, FOLDS)))
            print(f"{path}: {told}", flush=True)
        judge_vehicles(given.out)
        return
    rules = {"heads": (measure_turns, name_head), "mouths": (measure_mouths, name_mouth)}
    table = given.out / f"{given.what}.csv"
    print(f"{table}: {write_table(table, list(list_faces(given.data, *rules[given.what])))}")


if __name__ == "__main__":
    main()
