"""PAD evaluation of liveness models on simulated attacks, and a contact sheet of the attacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.models.paths import resolve_model
from edge.types import U8
from trainers.data.near_duplicates import split_dataset
from trainers.data.read import read_face_dataset
from trainers.evaluation.figures import save_image, tile
from trainers.metrics import pad
from trainers.metrics.interval import Interval
from trainers.networks.config import LivenessConfig
from trainers.spoofing.attacks import ALL, HELD_OUT, Camera, Clip, simulate_attack
from trainers.spoofing.clips import (
    LiveFaces,
    PadSet,
    build_pad_set,
    load_clip_scorer,
    read_clip_config,
    read_scenes,
    score_pad_set,
)

Row = tuple[str, Interval, Interval]  # metric, of clips, of tracks
_TILE_PX = 144


def evaluate_pad(
    models: Sequence[str], data: Path, held: float = 0.0, scenes: tuple[Path, ...] = (),
    score: float = 0.5, each: int = 100,
) -> dict[str, list[Row]]:  # fmt: skip
    """Evaluate each model on the same attacks.

    Raises:
        ConfigError: The data cannot be used.
        ModelError: A model cannot be loaded.
    """
    dataset = read_face_dataset(data)
    people = LiveFaces(split_dataset(dataset, held)[1] if held else dataset)
    results, pad_sets, backgrounds = {}, dict[LivenessConfig, PadSet](), read_scenes(scenes)
    for name in models:
        path = resolve_model(name, Path.cwd())
        config = read_clip_config(path)
        if config not in pad_sets:
            pad_sets[config] = build_pad_set(people, config, tuple(ALL), backgrounds, each)
        scores = load_clip_scorer(path, config)(pad_sets[config].clips)
        results[name] = _rows(*score_pad_set(scores, pad_sets[config], score))
    return results


def _rows(clips: pad.PadMetrics, tracks: pad.PadMetrics) -> list[Row]:
    rows = [("BPCER", clips.bpcer, tracks.bpcer)]
    for kind, rate in clips.apcer.items():
        mark = ", never trained on" if kind in HELD_OUT else ""
        rows.append((f"APCER {kind}{mark}", rate, tracks.apcer[kind]))
    return [*rows, ("ACER", clips.acer, tracks.acer)]


def draw(data: Path, scenes: tuple[Path, ...], path: Path, across: int = 8, seed: int = 0) -> None:
    """Draw a contact sheet: live people, then each kind of attack, a row each.

    Raises:
        ConfigError: The data cannot be used.
    """
    people, backgrounds = LiveFaces(read_face_dataset(data)), read_scenes(scenes)
    tiles, titles = [], []
    for name in ("live", *ALL):
        for n in range(across):
            rng = np.random.default_rng((seed, n, *name.encode()))
            clip = people.draw(rng)
            if name != "live":
                clip = simulate_attack(clip, ALL[name], backgrounds, people.draw, rng)
            tiles.append(_thumbnail(Camera()(clip, rng)))
            titles.append(name)
    sheet = tile(tiles, across, titles)
    save_image(path, sheet)


def _thumbnail(clip: Clip) -> U8:
    """The image with the box of the face, on a square."""
    image = clip.images[0].copy()
    (x1, y1), (x2, y2) = clip.xyxy[0].reshape(2, 2).astype(int).tolist()
    cv2.rectangle(image, (x1, y1), (x2, y2), (255, 64, 64), max(1, max(image.shape) // 150))
    scale = _TILE_PX / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    square = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small[:_TILE_PX, :_TILE_PX]
    return square
