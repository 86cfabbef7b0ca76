"""PAD evaluation of liveness models on simulated attacks, and a contact sheet of the attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.models.paths import resolve_model
from edge.types import F32, U8, Detections, Faces, RgbPicture
from trainers.data.near_duplicates import split_dataset
from trainers.data.read import read_face_dataset
from trainers.evaluation.figures import save_image, tile
from trainers.metrics import pad
from trainers.metrics.interval import Interval
from trainers.networks.config import LivenessConfig
from trainers.pseudo_labels import iterate_pictures
from trainers.run.tell import tell_notes
from trainers.spoofing.attacks import ALL, HELD_OUT, Camera, Clip, simulate_attack
from trainers.spoofing.clips import (
    LiveFaces,
    PadSet,
    build_pad_set,
    cut_crops,
    load_clip_scorer,
    read_clip_config,
    read_scenes,
    score_pad_set,
)

Row = tuple[str, Interval, Interval | None]  # metric, of clips, of tracks
Predict = Callable[[RgbPicture], Faces | Detections]
_TILE_PX = 144
_LEAST_FACE_PX, _LEAST_FACE_SCORE = 30, 0.7
_EVERY = 2  # frames of a video of living people


@dataclass(frozen=True, slots=True, eq=False)
class PadQuestion:
    """What models are asked.

    Attributes:
        data: A data set whose boxes are live faces; ``held``: only the held-out part of its people.
        scenes: Folders of backgrounds.
        people: Pictures and videos of living people, for a BPCER of their own each.
        predict: Detects the faces in ``people``.
        score: Score from which a face counts as live.
        each: Tracks of each kind at most.
        verbose: Whether to tell what was passed over in the data.
    """

    data: Path
    held: float = 0.0
    scenes: tuple[Path, ...] = ()
    people: tuple[Path, ...] = ()
    predict: Predict | None = None
    score: float = 0.5
    each: int = 100
    verbose: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Presentations:
    """Clips as a configuration crops them: attacks and the living, and more of the living."""

    attacks: PadSet
    living: dict[str, U8]  # by source, (N, C, h, w, 3)


def evaluate_pad(models: Sequence[str], question: PadQuestion) -> dict[str, list[Row]]:
    """Evaluate each model on the same attacks and the same living people.

    Models after the first are also evaluated where their BPCER is at most the first one's, so
    that their APCER can be compared.

    Raises:
        ConfigError: The data cannot be used.
        ModelError: A model cannot be loaded.
    """
    results, shown = dict[str, list[Row]](), dict[LivenessConfig, _Presentations]()
    first: float | None = None
    for name in models:
        path = resolve_model(name, Path.cwd())
        config = read_clip_config(path)
        if config not in shown:
            shown[config] = _present(question, config)
        model, attacks = load_clip_scorer(path, config), shown[config].attacks
        scores = model(attacks.clips)
        living = {source: model(clips) for source, clips in shown[config].living.items()}
        results[name] = _report(scores, attacks, living, question.score)
        if first is None:
            first = results[name][0][1].value
        else:
            threshold = pad.find_threshold(scores, attacks.kind, first)
            title = f"{name} at a BPCER of {first:.3f}, from {threshold:.3f} on"
            results[title] = _report(scores, attacks, living, threshold)
    return results


def _present(question: PadQuestion, config: LivenessConfig) -> _Presentations:
    dataset, scenes = read_face_dataset(question.data), read_scenes(question.scenes)
    tell_notes((*dataset.notes, *scenes.notes), question.verbose)
    people = LiveFaces(split_dataset(dataset, question.held)[1] if question.held else dataset)
    attacks = build_pad_set(people, config, tuple(ALL), scenes, question.each)
    ask = question.predict
    living = {path.stem: _read_living(path, ask, config) for path in question.people} if ask else {}
    return _Presentations(attacks, {name: clips for name, clips in living.items() if len(clips)})


def _read_living(source: Path, predict: Predict, config: LivenessConfig) -> U8:
    """Clips of the faces in pictures and videos, ``(N, C, h, w, 3)``, each a still of one."""
    clips = []
    for picture in iterate_pictures(source, _EVERY):
        faces = predict(picture)
        sides = np.sqrt((faces.xyxy[:, 2:] - faces.xyxy[:, :2]).prod(1))
        for box in faces.xyxy[(faces.score >= _LEAST_FACE_SCORE) & (sides >= _LEAST_FACE_PX)]:
            still = Clip((picture.rgb,), box[None].copy())
            clips.append(np.tile(cut_crops(still, config), (config.frames, 1, 1, 1)))
    width, height = config.input_wh
    return np.stack(clips) if clips else np.zeros((0, config.crops, height, width, 3), np.uint8)


def _report(
    scores: F32, attacks: PadSet, living: Mapping[str, F32], threshold: float
) -> list[Row]:  # fmt: skip
    more = [
        (f"BPCER {name}", pad.wilson(int(np.sum(~(of >= threshold))), len(of)), None)
        for name, of in living.items()
    ]
    return [*_rows(*score_pad_set(scores, attacks, threshold)), *more]


def _rows(clips: pad.PadMetrics, tracks: pad.PadMetrics) -> list[Row]:
    rows: list[Row] = [("BPCER", clips.bpcer, tracks.bpcer)]
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
