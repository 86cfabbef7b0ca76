"""Whether class maps look at the object: the pointing game, and deletion against random order.

Run: ``python -m tests.benchmarks.explain [--data ../shared/data] [--out build/explain]``.

A classifier learns from class labels alone whether a photograph shows a raccoon: the photographs
of raccoon and of coco_dev, whole, from zoo:detect-nano with its backbone frozen and ended at stride
16. Each photograph is judged by the network that did not learn from it (folds by near-duplicates).

- Pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", here without
  their tolerance of 15 pixels): the highest value of the map lies in a labeled box. The middle of
  the photograph is the rival that says how hard the data are: raccoons fill half of their pictures.
- The same in mosaics of four photographs, one of them with a raccoon, at a random place, where the
  middle is never right and a random point hits in one of eight.
- Deletion (Petsiuk et al. 2018, "RISE"): cells of 14x14 pixels of the picture are made gray in the
  order of the map, and the probability of a raccoon is averaged over all steps. Lower is better.
  Rivals, the means of several orders each: random fields as smooth as a map, which delete patches
  as a map does; cells scattered at random, which perforate the whole picture at once, what no
  photograph looks like; and from the middle outwards, where photographers put raccoons.

``python -m tests.benchmarks.explain occlusion`` judges what `edge explain` draws: of each
photograph of coco_dev in which zoo:detect-nano finds a person, the surest one. The cells of its map
are made gray in the order of the map, and in both kinds of random order; the score of that person
is averaged.

Goals: pointing >= 0.8; the interval of the gain over random order lies above 0.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import keras
import numpy as np

from edge.models import occlusion
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.runtimes import onnx
from edge.types import F32, U8, Frame, Letterbox, RgbPicture
from edge.vision.preprocess import letterbox
from tests.support.class_tables import write_table
from trainers.classifier import ClassifierJob, train_classifier
from trainers.data.dataset import Example
from trainers.data.near_duplicates import unite_near_duplicates
from trainers.data.read import read_dataset
from trainers.explanation import class_maps
from trainers.metrics.classes import to_probabilities
from trainers.metrics.detection import mean_interval
from trainers.networks.config import ClassifierConfig
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

KIND = "raccoon"
SIDE = 224
CUT = "backbone_dark4_csp_conv3_act"
EPOCHS = 30
CELL_PX = 14
GRAY = 114
ORDERS = 3  # random ones for each picture


@dataclass
class Judged:
    """What was measured, a value for each photograph."""

    group: list[str] = field(default_factory=list)
    hit: dict[str, list[float]] = field(default_factory=dict)
    deletion: dict[str, list[float]] = field(default_factory=dict)


def list_folds(examples: list[Example], folds: int) -> list[int]:
    """The fold of each photograph; groups of near-duplicates are in one."""
    names = sorted({example.group for example in examples})
    order = np.random.default_rng(0).permutation(len(names))
    fold = {names[n]: place % folds for place, n in enumerate(order.tolist())}
    return [fold[example.group] for example in examples]


def train(
    parts: dict[str, list[tuple[Example, int]]], fold: int, out: Path, *, reuse: bool
) -> tuple[keras.Model, ClassifierConfig]:
    """Train on what is in other folds, as ``edge-train classifier`` does.

    The part that is held back to choose the epoch and the temperature is a fifth of those others.
    """
    rows = []
    for kind, members in parts.items():
        for n, (example, its_fold) in enumerate(members):
            if its_fold != fold:
                part = "val" if n % 5 == 0 else "train"
                rows.append((str(example.path), kind, "", "", "", "", example.group, part))
    print(f"fold {fold}:", write_table(out / f"fold-{fold}.csv", rows), flush=True)
    config = ClassifierConfig(
        ("a", "b"), (SIDE, SIDE), backbone="nano", activation="silu", norm="none", cut=CUT
    )
    folder = out / f"run-{fold}"
    if reuse:
        return RunFolder.open(folder).load_with_config(ClassifierConfig)
    shutil.rmtree(folder, ignore_errors=True)
    job = ClassifierJob(
        data=(out / f"fold-{fold}.csv",), out=folder, config=config, choose_rate=True,
        start=resolve_model("zoo:detect-nano", get_zoo_folder()),
        settings=Settings(batch=32, epochs=EPOCHS, freeze="backbone", validate_every=10),
    )  # fmt: skip
    return train_classifier(job).load_with_config(ClassifierConfig)


def place(image: U8) -> tuple[U8, Letterbox]:
    """The input of the network for a picture."""
    canvas = np.empty((SIDE, SIDE, 3), np.uint8)
    return canvas, letterbox(RgbPicture(image), canvas)


def point_at(network: keras.Model, config: ClassifierConfig, image: U8, name: str) -> F32:
    """Where the map is highest, pixels of the picture."""
    canvas, placed = place(image)
    batch = canvas[None].astype(np.float32)
    class_id = config.classes.index(KIND)
    if name == "CAM":
        cam = class_maps.compute_cam(network, config, batch, class_id)[0]
    else:
        layer = class_maps.name_last_map(network)
        score = class_maps.score_class(config, class_id)
        cam = class_maps.compute_grad_cam(network, layer, batch, score)[0]
    large = class_maps.crop_to_picture(class_maps.enlarge_map(cam, (SIDE, SIDE)), placed)
    y, x = np.unravel_index(int(large.argmax()), large.shape)
    return np.array([x + 0.5, y + 0.5], np.float32) / placed.scale_xy


def lies_in(point: F32, xyxy: F32) -> float:
    """1 if a point lies in one of the boxes, else 0."""
    return float(((point >= xyxy[:, :2]) & (point < xyxy[:, 2:])).all(1).any())


def make_mosaic(
    example: Example, others: list[Example], rng: np.random.Generator
) -> tuple[U8, F32]:
    """Four photographs in one picture, the first of them at a random place, and its boxes."""
    at, canvas = int(rng.integers(4)), np.empty((2 * SIDE, 2 * SIDE, 3), np.uint8)
    chosen = [others[n] for n in rng.choice(len(others), 3, replace=False).tolist()]
    chosen.insert(at, example)
    for n, one in enumerate(chosen):
        y, x = SIDE * (n // 2), SIDE * (n % 2)
        canvas[y : y + SIDE, x : x + SIDE], placed = place(one.load().image)
        if n == at:
            xyxy = placed.to_network(example.xyxy) + np.array([x, y, x, y], np.float32)
    return canvas, xyxy


def measure_deletion(
    network: keras.Model, config: ClassifierConfig, image: U8, rng: np.random.Generator
) -> dict[str, float]:
    """Mean probability while cells are made gray, by the order of the cells."""
    canvas, placed = place(image)
    across, class_id = SIDE // CELL_PX, config.classes.index(KIND)
    cam = class_maps.compute_cam(network, config, canvas[None].astype(np.float32), class_id)[0]
    ys, xs = np.mgrid[:across, :across] * CELL_PX + CELL_PX / 2
    width, height = np.array(placed.source_wh) * placed.scale_xy
    shown = (ys < height) & (xs < width)  # what is padding is no part of the picture

    def ask(first: np.ndarray) -> float:
        rank = np.full(first.shape, first.size)
        rank[shown] = np.argsort(np.argsort(-first[shown], kind="stable"))
        rank = rank.repeat(CELL_PX, 0).repeat(CELL_PX, 1)
        steps = np.linspace(0, shown.sum(), 9).round()
        batch = np.stack([np.where((rank < step)[..., None], GRAY, canvas) for step in steps])
        logits = network.predict_on_batch(batch.astype(np.float32))
        probability = to_probabilities(logits, config.temperature)[:, class_id]
        return float((probability[1:] + probability[:-1]).mean() / 2)

    fields = [rng.normal(size=(across, across)) for _ in range(ORDERS)]
    return {
        "the map": ask(class_maps.enlarge_map(cam, (across, across))),
        "smooth random order": float(np.mean([ask(smooth(one)) for one in fields])),
        "scattered random order": float(np.mean([ask(one) for one in fields])),
        "from the middle": ask(-np.hypot(ys - height / 2, xs - width / 2)),
    }


def smooth(noise: np.ndarray) -> np.ndarray:
    """Noise as smooth as a map of stride 16 that was enlarged."""
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2))


def judge(
    network: keras.Model, config: ClassifierConfig, held: list[Example], others: list[Example],
    judged: Judged, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Judge the photographs that a network did not learn from."""
    for example in held:
        image = example.load().image
        mosaic, xyxy = make_mosaic(example, others, rng)
        middle = np.array(example.size_wh, np.float32) / 2
        points = {
            "CAM": point_at(network, config, image, "CAM"),
            "Grad-CAM": point_at(network, config, image, "Grad-CAM"),
            "middle of the picture": middle,
            "random point": rng.uniform(0, 1, 2).astype(np.float32) * example.size_wh,
        }
        for name, point in points.items():
            judged.hit.setdefault(name, []).append(lies_in(point, example.xyxy))
        points = {
            "CAM, mosaic": point_at(network, config, mosaic, "CAM"),
            "random point, mosaic": rng.uniform(0, 2 * SIDE, 2).astype(np.float32),
        }
        for name, point in points.items():
            judged.hit.setdefault(name, []).append(lies_in(point, xyxy))
        for name, value in measure_deletion(network, config, image, rng).items():
            judged.deletion.setdefault(name, []).append(value)
        judged.group.append(example.group)


def count_right(
    network: keras.Model, config: ClassifierConfig, examples: list[Example], kind: str
) -> list[float]:
    """Whether each photograph is called what it is, 1 or 0."""
    batch = np.stack([place(example.load().image)[0] for example in examples])
    said = network.predict(batch.astype(np.float32), 32, verbose=0).argmax(1)
    return [float(config.classes[n] == kind) for n in said]


def tell_deletion(areas: dict[str, list[float]], groups: list[str]) -> None:
    """Print the area under each curve, and what the first order gains over the others."""
    ours, *_ = areas.values()
    for name, values in areas.items():
        gain = [theirs - own for own, theirs in zip(ours, values, strict=True)]
        beside = f", gain of the map {mean_interval(gain, groups)}" if values is not ours else ""
        print(f"deletion, {name}: {mean_interval(values, groups)}{beside}")


def judge_occlusion(data: Path, most: int) -> None:
    """Print the figures of `edge explain`."""
    runtime = onnx.build(onnx.Options())
    detector = load_model("detect", runtime, resolve_model("zoo:detect-nano", get_zoo_folder()))
    person, rng = detector.classes.index("person"), np.random.default_rng(0)
    areas: dict[str, list[float]] = {}
    inside, took = list[float](), list[float]()
    for example in read_dataset(data / "coco_dev").examples:
        picture = occlusion.shrink(RgbPicture(example.load().image))
        [found] = detector.detect([Frame("", 0, 0, 0.0, 0.0, picture)])
        found = found[(found.class_id == person) & (found.score >= 0.5)]
        if not len(found) or len(took) == most:
            continue
        xyxy = found.xyxy[int(found.score.argmax())]
        ask = occlusion.ask_detector(detector, xyxy, person)
        began_s = time.monotonic()
        told = occlusion.explain(ask, picture, "person", xyxy)
        took.append(time.monotonic() - began_s)
        inside.append(told.share_inside())
        noise = [rng.normal(size=told.heat.shape) for _ in range(ORDERS)]
        for name, firsts in (
            ("the map", [told.heat]), ("smooth random order", [smooth(one) for one in noise]),
            ("scattered random order", noise),
        ):  # fmt: skip
            curves = [delete_cells(ask, picture, told, first) for first in firsts]
            areas.setdefault(name, []).append(float(np.mean(curves)))
    names = list(map(str, range(len(took))))
    print(f"{len(took)} people, {np.median(took):.1f} s each, {max(took):.1f} s at most")
    print(f"share of the loss within the box: {mean_interval(inside, names)}")
    tell_deletion(areas, names)


def delete_cells(
    ask: occlusion.Ask, picture: RgbPicture, told: occlusion.Occlusion, first: np.ndarray
) -> float:
    """Mean score while the cells of an occlusion's map are made gray."""
    rank = np.argsort(np.argsort(-first, axis=None)).reshape(first.shape).astype(np.float32)
    spread = replace(told, heat=rank + 1).spread(picture.size_wh)  # 0 where no cell is
    steps = np.linspace(0, rank.size, 9).round()
    covered = [
        np.where(((spread > 0) & (spread <= step))[..., None], GRAY, picture.rgb) for step in steps
    ]
    score = np.concatenate([ask([RgbPicture(one.astype(np.uint8))]) for one in covered])
    return float((score[1:] + score[:-1]).mean() / 2)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("maps", "occlusion"), default="maps")
    parser.add_argument("--most", type=int, default=60, help="photographs for occlusion")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/explain"))
    parser.add_argument("--reuse", action="store_true", help="the networks that are in --out")
    parser.add_argument("--folds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "occlusion":
        judge_occlusion(given.data, given.most)
        return
    parts = {}
    for kind, name in ((KIND, "raccoon"), ("other", "coco_dev")):
        examples = list(unite_near_duplicates(read_dataset(given.data / name)).examples)
        folds = list_folds(examples, given.folds)
        parts[kind] = list(zip(examples, folds, strict=True))
    judged, rng = Judged(), np.random.default_rng(0)
    recalls: dict[str, list[float]] = {kind: [] for kind in parts}
    for fold in range(given.folds):
        network, config = train(parts, fold, given.out, reuse=given.reuse)
        held = {kind: [e for e, its in of if its == fold] for kind, of in parts.items()}
        for kind, examples in held.items():
            recalls[kind] += count_right(network, config, examples, kind)
        judge(network, config, held[KIND], held["other"], judged, rng)
    print("balanced accuracy, held back:", f"{np.mean([np.mean(r) for r in recalls.values()]):.3f}")
    for name, hits in judged.hit.items():
        print(f"pointing game, {name}: {mean_interval(hits, judged.group)}, n {len(hits)}")
    tell_deletion(judged.deletion, judged.group)


if __name__ == "__main__":
    main()
