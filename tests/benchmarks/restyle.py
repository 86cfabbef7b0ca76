"""Detectors of raccoons at night: trained by day, with restyled pictures, with an augmentation.

Run: ``python -m tests.benchmarks.restyle [--data ../shared/data] [--out build/restyle]
[--ways without,restyled,night] [--halves 1]``.

The camera at night is simulated: photographs of COCO under the condition ``night`` at strengths 0.5
to 1 are the pictures of its style, raccoons under the same condition at 0.5 and 1 are judged.
One half of the 160 photographs of raccoons is learned from and the other is judged, near-duplicates
on one side; with ``--halves 2`` the other way round too. All ways start from zoo:detect-nano and
take as many steps, without the augmentations ``night`` and ``dark``, but for the ways of these
names, in which half of the pictures meet it:

- ``without``: day pictures alone.
- ``restyled``: each picture by day, and restyled in the style of one of eight photographs.
- ``night``: the augmentation of that name, which knows nothing of this camera.
- ``dark``: the very condition that is judged, as an augmentation: what knowing the camera exactly
  would give.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.models.paths import get_zoo_folder, resolve_model
from edge.types import Detections, RgbPicture
from trainers.augment.conditions import Change, Condition, unchanged
from trainers.augment.presets import detector_augments
from trainers.data.dataset import Dataset, is_held_out
from trainers.data.near_duplicates import unite_near_duplicates
from trainers.data.parts import Parts
from trainers.data.read import read_dataset
from trainers.detector import METRIC, DetectorJob, compute_metrics, fit
from trainers.metrics.detection import Evaluation, evaluate
from trainers.networks.config import NetworkConfig
from trainers.networks.predict import Predictor
from trainers.restyle.features import load_features
from trainers.restyle.folder import find_styles, make_plan
from trainers.restyle.restyle import draw_fits, restyle_all
from trainers.restyle.style import Restyler
from trainers.run.settings import Settings

STEPS, BATCH, SIDE = 200, 8, 160
STYLES, STRENGTHS = 8, (0.5, 1.0)
OFF = {"night": {"chance": 0.0}}
CHANCES = {
    "without": OFF,
    "restyled": OFF,
    "night": {"night": {"chance": 0.5}},
    "dark": {**OFF, "dark": {"chance": 0.5, "weakest": STRENGTHS[0], "strongest": STRENGTHS[1]}},
}
JUDGED: dict[str, Change] = {"by day": unchanged} | {
    f"night {strength:g}": Condition("night", strength, seed=1) for strength in STRENGTHS
}


def write_styles(data: Path, folder: Path) -> None:
    """Photographs of COCO as the camera would take them at night."""
    folder.mkdir(parents=True)
    coco = read_dataset(data / "coco_dev")
    strengths = np.linspace(*STRENGTHS, STYLES)
    chosen = coco.examples[:: len(coco) // STYLES][:STYLES]
    for example, strength in zip(chosen, strengths, strict=True):
        seen = Condition("night", float(strength))(example.load())
        bgr = cv2.cvtColor(seen.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{example.name}.jpg"), bgr)


def restyle(day: Dataset, out: Path) -> Dataset:
    """The restyled data set, and what it took; one that is there already is taken as it is."""
    if (out / "night" / "data.yaml").is_file():
        return read_dataset(out / "night")
    features = load_features(resolve_model("zoo:detect-nano", get_zoo_folder()), "nano", 192)
    plan = make_plan(day, find_styles(out / "style"), out / "night")
    began_s = time.monotonic()
    done = list(restyle_all(plan, Restyler(features)))
    spent_s = (time.monotonic() - began_s) / len(done)
    before, after, content = (
        np.mean([getattr(one.fit, name) for one in done])
        for name in ("day_style", "style", "content")
    )
    draw_fits(plan, done, out / "sheet.png")
    print(
        f"{len(done)} pictures restyled, {spent_s:.1f} s each; style loss {before:.2f} by day, "
        f"{after:.2f} restyled, content loss {content:.2f}; {out / 'sheet.png'}",
        flush=True,
    )
    return read_dataset(out / "night")


def learn(way: str, training: Dataset, held: Dataset, out: Path) -> Predictor:
    """Train as ``edge-train detector --start zoo:detect-nano`` does; the last epoch is kept."""
    epochs = round(STEPS * BATCH / len(training))
    job = DetectorJob(
        data=(), out=out, start=resolve_model("zoo:detect-nano", get_zoo_folder()),
        network=NetworkConfig(("raccoon",), (SIDE, SIDE), norm="none"),
        settings=Settings(
            epochs=epochs, batch=BATCH, learning_rate=2e-4, validate_every=10_000,
            augment=CHANCES[way],
        ),
    )  # fmt: skip
    began_s = time.monotonic()
    augments = detector_augments(1.0, CHANCES[way])
    run = fit(job, "detect", Parts(training, held), augments, compute_metrics, METRIC)
    print(
        f"  {way}: {len(training)} pictures, {epochs} epochs, {time.monotonic() - began_s:.0f} s",
        flush=True,
    )
    return Predictor(*run.load_with_config(NetworkConfig))


def judge(predictor: Predictor, held: Dataset, change: Change) -> list[Detections]:
    """Detections in what is judged."""
    return predictor.detect([RgbPicture(change(e.load()).image) for e in held.examples])


def show(title: str, results: dict[str, Evaluation]) -> None:
    """A line for each way: AP50, and how much that is more than without."""
    base = results["without"]
    for way, result in results.items():
        figure = result.interval(lambda draws, r=result: r.ap(iou=0.5, draws=draws))
        more = result.interval(
            lambda draws, r=result: r.ap(iou=0.5, draws=draws) - base.ap(iou=0.5, draws=draws)
        )
        apart = f", {more.value:+.3f} ({more.low:+.3f} to {more.high:+.3f})"
        print(f"{title}, {way}: AP50 {figure}{apart if result is not base else ''}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Restyle, train each way on both halves, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/restyle"))
    parser.add_argument("--ways", default="without,restyled,night")
    parser.add_argument("--halves", type=int, choices=(1, 2), default=1)
    given = parser.parse_args(arguments)
    ways = given.ways.split(",")
    for way in ways:
        for half in range(2):
            shutil.rmtree(given.out / f"{way}-{half}", ignore_errors=True)
    if not (given.out / "style").is_dir():
        write_styles(given.data, given.out / "style")
    day = unite_near_duplicates(read_dataset(given.data / "raccoon"))
    night = restyle(day, given.out)
    judged = list[object]()
    found: dict[tuple[str, str], list[Detections]] = {}
    for half in range(given.halves):
        held = day.where(lambda e, k=half: is_held_out(e.group, 0.5, 3) == bool(k))
        learned = day.where(lambda e, k=half: is_held_out(e.group, 0.5, 3) != bool(k))
        names = {e.group for e in learned.examples}
        both = learned + night.where(lambda e, own=names: e.group in own)
        judged += held.examples
        for way in ways:
            training = both if way == "restyled" else learned
            predictor = learn(way, training, held, given.out / f"{way}-{half}")
            for title, change in JUDGED.items():
                found.setdefault((title, way), []).extend(judge(predictor, held, change))
        for title in JUDGED:
            results = {way: evaluate(judged, found[title, way], day.classes) for way in ways}
            show(f"{len(judged)} pictures {title}", results)


if __name__ == "__main__":
    main()
