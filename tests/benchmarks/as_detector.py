"""A classifier as a detector beside zoo:detect-nano: people of coco_dev, AP50 and milliseconds.

Run: ``python -m tests.benchmarks.as_detector [--data ../shared/data] [--out build/as_detector]``.

Half of the pictures, by a hash of their names, are for training, the others are judged. Windows
of one by two are cut around people of 40 pixels and more, and background at random;
the classifier starts from zoo:detect-nano's backbone, frozen, up to stride 16. What it takes for a
person on training pictures where there is none is added, and it is trained again.
How much windows cut out alone differ from the same windows in one pass is printed as well.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np

from deploy.export.detector import export_run
from deploy.export.side import AsDetector
from deploy.graph.manifest import Provenance
from deploy.graph.nms import NmsOverrides
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.runtimes.onnx import Options, build
from edge.types import F32, Detections, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.preprocess import letterbox
from tests.support.class_tables import Row, write_table
from trainers.classifier import ClassifierJob, train_classifier
from trainers.data.dataset import Dataset, Example
from trainers.data.read import read_dataset
from trainers.metrics import detection as metrics
from trainers.networks.config import ClassifierConfig
from trainers.networks.windows import build_windows
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

SIDES = "48,64,96,128,192,256,384"
LEAST_PX = 40
BACKGROUNDS = 8  # a picture
HARD = 12  # a picture, at most


def byte_of(example: Example) -> int:
    return hashlib.sha256(example.name.encode()).digest()[5]


def around(xyxy: F32) -> F32:
    """Windows of one by two around ``(N, 4)`` boxes."""
    center, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
    height = np.maximum(size[:, 1], 2 * size[:, 0])[:, None]
    half = height * np.array([0.25, 0.5], np.float32)
    return np.asarray(np.concatenate([center - half, center + half], 1), np.float32)


def list_windows(example: Example, rng: np.random.Generator) -> list[tuple[str, F32]]:
    """People, and background at random that hardly overlaps them."""
    size = example.xyxy[:, 2:] - example.xyxy[:, :2]
    found = [("person", box) for box in around(example.xyxy[size.max(1) >= LEAST_PX])]
    height, width = example.load().image.shape[:2]
    for _ in range(BACKGROUNDS):
        high = rng.uniform(LEAST_PX, height)
        low = rng.uniform((0, 0), (max(1, width - high / 2), height - high + 1))
        box = np.array([*low, low[0] + high / 2, low[1] + high], np.float32)
        if boxes.iou(box[None], example.xyxy).max(initial=0) < 0.15:
            found.append(("background", box))
    return found


def train(table: Path, rows: list[Row], out: Path) -> RunFolder:
    """Train as ``edge-train classifier --start zoo:detect-nano --freeze backbone`` does."""
    print(f"  {write_table(table, rows)}", flush=True)
    config = ClassifierConfig(
        ("background", "person"), (32, 64), backbone="nano", activation="silu", norm="none",
        cut="backbone_dark4_csp_conv3_act", margin=0.25,
    )  # fmt: skip
    return train_classifier(ClassifierJob(
        data=(table,), out=out, config=config, choose_rate=True, start_partial=True,
        start=resolve_model("zoo:detect-nano", get_zoo_folder()),
        settings=Settings(batch=32, epochs=12, freeze="backbone", validate_every=4),
    ))  # fmt: skip


def detect(model: Path, dataset: Dataset) -> tuple[list[Detections], float]:
    """People in each picture, and the median milliseconds a picture."""
    loaded, found, spent = load_model("detect", build(Options()), model), list[Detections](), []
    person = loaded.classes.index("person")
    for example in dataset.examples:
        frame = Frame("", 0, 0, 0.0, 0.0, RgbPicture(example.load().image))
        began_s = time.perf_counter()
        [rows] = loaded.detect([frame])
        spent.append(time.perf_counter() - began_s)
        rows = rows[rows.class_id == person]
        found.append(Detections(rows.xyxy, rows.score, np.zeros(len(rows), np.int32)))
    return found, 1000 * float(np.median(spent))


def compare_alone(run: RunFolder, dataset: Dataset) -> str:
    """Windows in one pass against the same windows cut out alone."""
    network, config = run.load_with_config(ClassifierConfig)
    whole, (width, height), differ = build_windows(network, config, (416, 416)), (32, 64), []
    image = np.empty((416, 416, 3), np.uint8)
    for example in dataset.examples[:10]:
        letterbox(RgbPicture(example.load().image), image)
        pixels = image.astype(np.float32)
        together = np.asarray(whole(pixels[None]))[0, ::4, ::4]
        cut = [
            pixels[y : y + height, x : x + width]
            for y in range(0, 416 - height + 1, 64) for x in range(0, 416 - width + 1, 64)
        ]  # fmt: skip
        alone = np.asarray(network(np.stack(cut)))
        chance = [1 / (1 + np.exp(v[:, 0] - v[:, 1])) for v in (together.reshape(-1, 2), alone)]
        differ.append(np.abs(chance[0] - chance[1]))
    flat = np.concatenate(differ)
    middle, most = np.quantile(flat, (0.5, 0.95))
    return f"probabilities differ by {middle:.3f} (median), {most:.3f} (95 %)"


def main() -> None:
    """Train twice, export, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/as_detector"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    people = read_dataset(given.data / "coco_dev").select(("person",))
    learned, held = (people.where(lambda e, k=k: byte_of(e) % 2 == k) for k in (0, 1))
    print(f"{len(learned.examples)} pictures to learn from, {len(held.examples)} judged")
    rng, rows, models = np.random.default_rng(0), list[Row](), dict[str, Path]()
    for example in learned.examples:
        part = "val" if byte_of(example) % 10 == 0 else "train"
        rows += [(str(example.path), kind, *box.tolist(), example.name, part)
                 for kind, box in list_windows(example, rng)]  # fmt: skip
    for turn in ("random background", "and hard background"):
        name = turn.split()[0]
        run = train(given.out / f"{name}.csv", rows, given.out / f"run-{name}-{time.time():.0f}")
        asked, nms = AsDetector.parse(SIDES, ""), NmsOverrides(score=0.1)
        model, _ = export_run(run, nms, Provenance(name), as_detector=asked)
        models[turn] = given.out / f"{name}.onnx"
        models[turn].write_bytes(model)
        if len(models) == 1:
            for example, rows_found in zip(
                learned.examples, detect(models[turn], learned)[0], strict=True
            ):
                part = "val" if byte_of(example) % 10 == 0 else "train"
                overlap = boxes.iou(rows_found.xyxy, example.xyxy).max(1, initial=0)
                hard = rows_found.xyxy[(overlap < 0.15) & (rows_found.score > 0.4)][:HARD]
                rows += [(str(example.path), "background", *box.tolist(), example.name, part)
                         for box in hard]  # fmt: skip
    print(f"windows cut out alone: {compare_alone(run, held)}")
    models["zoo:detect-nano"] = resolve_model("zoo:detect-nano", get_zoo_folder())
    for name, path in models.items():
        found, took_ms = detect(path, held)
        result = metrics.evaluate(held.examples, found, held.classes)
        figure = result.interval(lambda draws, r=result: r.ap(iou=0.5, draws=draws))
        print(f"{name}: AP50 {figure}, {took_ms:.1f} ms a picture", flush=True)


if __name__ == "__main__":
    main()
