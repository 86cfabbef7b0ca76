"""Living takes from labelled pictures, and batches of them mixed with simulated attacks."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from edge.errors import ConfigError
from edge.types import F32, U8, RgbPicture
from edge.vision.face_crops import crop_wide
from edge.vision.resize import resize
from trainers.augment.augment import Rng
from trainers.data import image_file as picturefile
from trainers.data.dataset import Dataset, Example
from trainers.data.read import find_images
from trainers.input.pipeline import locate_picture, plan_epoch
from trainers.networks.config import LivenessConfig
from trainers.spoofing.attacks import (
    ALL,
    Camera,
    Clip,
    extend_surroundings,
    mirror_clip,
    simulate_attack,
)

ClipScorer = Callable[[U8], F32]  # clips (N, C, h, w, 3) -> (N,): a teacher
_NUMBER = re.compile(r"[_/-]?[a-z]*\d+$")
_LEAST_FACE_PX = 30
_SCENE_PX = 480  # they stand behind, and are many
_ROOMIER = 0.25  # chance of more surroundings; as of attacks that are seen from afar
_JITTER = 0.05  # of a box, in its sides: a face finder's next to a label
_SPARE = 1.5  # of the widest crop: four times the jitter, and what a blur reaches


def parse_track_name(example: Example) -> str:
    """Which video a picture is from: its name without the number at its end."""
    return _NUMBER.sub("", example.name)


@dataclass(eq=False)
class LiveFaces:
    """Pictures of living people by track; the faces in them.

    Attributes:
        dataset: whose boxes are faces.
        ram_bytes: how much of the pictures may stay in memory.
    """

    dataset: Dataset
    ram_bytes: int = 1 << 30
    _tracks: dict[tuple[str, str], list[int]] = field(default_factory=dict, repr=False)
    _kept: dict[Path, U8] = field(default_factory=dict, repr=False)
    _kept_bytes: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        kept = [_large_faces(e) for e in self.dataset.examples]
        self.dataset = Dataset(self.dataset.classes, tuple(e for e in kept if len(e)))
        if not len(self):
            raise ConfigError(
                f"no picture shows a face of {_LEAST_FACE_PX} px: liveness needs boxes of faces"
            )
        tracks: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, example in enumerate(self.dataset.examples):
            tracks[example.group, parse_track_name(example)].append(row)
        self._tracks = dict(tracks)

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.dataset)

    def tracks(self) -> list[list[int]]:
        """Numbers of the pictures of each track, in order."""
        return list(self._tracks.values())

    def take(self, row: int, frames: int, rng: Rng) -> Clip:
        """T pictures of a track, beginning near picture ``row``; of several faces one.

        A track that is too short is walked to and fro. Pictures with several faces stand alone,
        for nobody knows which face of the next picture is the same.

        Raises:
            ConfigError: a picture is missing or broken.
        """
        example = self.dataset.examples[row]
        if len(example) > 1 or frames == 1:
            which = int(rng.integers(len(example)))
            return Clip((self._image(example),) * frames, np.tile(example.xyxy[which], (frames, 1)))
        track = self._tracks[example.group, parse_track_name(example)]
        track = [r for r in track if len(self.dataset.examples[r]) == 1]
        walk = [*track, *track[-2:0:-1]] or track
        first = walk.index(row)
        rows = [walk[(first + t) % len(walk)] for t in range(frames)]
        examples = [self.dataset.examples[r] for r in rows]
        boxes = np.concatenate([e.xyxy for e in examples])
        return Clip(tuple(self._image(e) for e in examples), boxes)

    def _image(self, example: Example) -> U8:
        image = self._kept.get(example.path)
        if image is not None:
            return image
        image = example.load().image
        with self._lock:
            if self._kept_bytes + image.nbytes <= self.ram_bytes and example.path not in self._kept:
                self._kept[example.path] = image
                self._kept_bytes += image.nbytes
        return image


def _large_faces(example: Example) -> Example:
    size = np.sqrt(np.maximum((example.xyxy[:, 2:] - example.xyxy[:, :2]).prod(1), 0))
    return example[size >= _LEAST_FACE_PX]


@dataclass(frozen=True, slots=True)
class Scenes:
    """What stands around attacks: pictures of anything, or a wall with coloured lights.

    Attributes:
        pictures: ``(H, W, 3)`` uint8 each.
        walls: chance of a wall; without pictures there is nothing else.
    """

    pictures: tuple[U8, ...] = ()
    walls: float = 0.25

    @classmethod
    def read(cls, files: Sequence[Path]) -> Scenes:
        """From files, kept small.

        Raises:
            ConfigError: one cannot be read.
        """
        return cls(tuple(_small(picturefile.read(file).rgb) for file in files))

    def __call__(self, rng: Rng) -> U8:
        """One of them."""
        if not self.pictures or rng.random() < self.walls:
            lights = rng.integers(0, 255, (5, 7, 3), np.uint8)
            wall = cv2.resize(lights, (420, 300), interpolation=cv2.INTER_CUBIC)
            return np.asarray(wall, np.uint8)
        return self.pictures[int(rng.integers(len(self.pictures)))]


def _small(image: U8) -> U8:
    shrink = min(1.0, _SCENE_PX / max(image.shape[:2]))
    h, w = (max(1, round(side * shrink)) for side in image.shape[:2])
    return resize(image, (w, h)) if shrink < 1 else image


def read_scenes(folders: Sequence[Path]) -> Scenes:
    """Read all pictures below these folders as backgrounds.

    Raises:
        ConfigError: a folder holds none, or a picture cannot be read.
    """
    files: list[Path] = []
    for folder in folders:
        pictures = find_images(folder)
        if not pictures:
            raise ConfigError(f"{folder} holds no picture: check --scenes")
        files += pictures
    return Scenes.read(files)


class ClipBatch(TypedDict):
    """B clips: ``clips`` (B, C, h, w, 3) uint8; ``live`` (B,) float32, what is to be said."""

    clips: U8
    live: F32


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatches:
    """Everything that decides what a batch looks like: half of it lives.

    Attributes:
        people: living ones.
        config: of the network.
        batch: B.
        kinds: names of the attacks.
        seed: of every random choice.
        scenes: what stands around attacks.
        teacher: another network's opinion of the living, or None.
        trust: share of it in what is to be said of them; 0 calls all of them alive.
        strength: of the camera's faults.
    """

    people: LiveFaces
    config: LivenessConfig
    batch: int
    kinds: tuple[str, ...]
    seed: int = 0
    scenes: Scenes = field(default_factory=Scenes)
    teacher: ClipScorer | None = None
    trust: float = 0.8
    strength: float = 1.0

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(plan_epoch(len(self.people), max(self.batch // 2, 1), 0, 0, shuffle=True))

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and living pictures of each batch of an epoch."""
        half = max(self.batch // 2, 1)
        for step, chosen in enumerate(
            plan_epoch(len(self.people), half, self.seed, epoch, shuffle=True)
        ):
            yield epoch, step, chosen

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> ClipBatch:
        """One batch: each chosen picture once alive, once as an attack.

        Raises:
            ConfigError: a picture is missing or broken.
            WorkerError: anything else went wrong; names the picture.
        """
        clips, live = [], []
        for place, row in enumerate(chosen.tolist()):
            rng = np.random.default_rng((self.seed, epoch, step, place))
            for alive in (True, False):
                with locate_picture(self.people.dataset.examples[row].path):
                    clips.append(self.clip(row, alive, rng))
                live.append(alive)
        whole, said = np.stack(clips), np.array(live, np.float32)
        if self.teacher is not None and self.trust:
            opinion = self.teacher(whole[said > 0])
            said[said > 0] = 1 - self.trust + self.trust * opinion
        return ClipBatch(clips=whole, live=said)

    def clip(self, row: int, alive: bool, rng: Rng) -> U8:
        """One clip that begins near a picture: ``(C, h, w, 3)``."""
        take = self.people.take(row, self.config.frames, rng)
        if alive:
            if rng.random() < _ROOMIER:
                take = extend_surroundings(take, rng.uniform(1.1, 1.8))
            take = cut_surroundings(take, self.config)  # the camera's faults cost time by the pixel
        else:
            kind = ALL[self.kinds[int(rng.integers(len(self.kinds)))]]
            take = simulate_attack(take, kind, self.scene, self.bearer, rng)
        take = Camera(0.35 * self.strength)(take, rng)
        take = mirror_clip(take) if rng.random() < 0.5 else take
        return cut_crops(take, self.config, rng)

    def scene(self, rng: Rng) -> U8:
        """What an attack is held before: half of the time what is behind somebody who lives."""
        return self.scenes(rng) if rng.random() < 0.5 else self.bearer(rng).images[0]

    def bearer(self, rng: Rng) -> Clip:
        """Somebody who lives."""
        return self.people.take(int(rng.integers(len(self.people))), 1, rng)


def cut_surroundings(take: Clip, config: LivenessConfig) -> Clip:
    """A take without what the network sees nothing of, though boxes are a little off."""
    images, boxes = [], []
    wide = max(config.scales) * _SPARE
    for image, box in zip(take.images, take.xyxy, strict=True):
        limit = np.array(image.shape[1::-1], np.float64)
        size = np.minimum(np.maximum(box[2:] - box[:2], 1) * wide, limit)
        low = np.clip((box[:2] + box[2:] - size) / 2, 0, limit - size).astype(int)
        high = np.ceil(low + size).astype(int)
        images.append(image[low[1] : high[1] + 1, low[0] : high[0] + 1])
        boxes.append(box - np.tile(low, 2))
    return Clip(tuple(images), np.array(boxes, np.float32))


def cut_crops(take: Clip, config: LivenessConfig, rng: Rng | None = None) -> U8:
    """What the network sees of a take, ``(C, h, w, 3)``; with ``rng``, boxes are a little off."""
    clips = []
    for image, box in zip(take.images, take.xyxy, strict=True):
        if rng is not None:
            side = float(np.sqrt(max((box[2:] - box[:2]).prod(), 1)))
            box = (box + rng.normal(0, _JITTER, 4) * side).astype(np.float32)
        picture = RgbPicture(np.ascontiguousarray(image))
        clips += [crop_wide(picture, box, scale, config.input_wh) for scale in config.scales]
    return np.stack(clips)


@dataclass(frozen=True, slots=True, eq=False)
class PadSet:
    """A fixed set of clips with what they are.

    Attributes:
        clips: ``(N, C, h, w, 3)`` uint8.
        kind: of each, ``live`` or the attack's.
        track: of each: clips of one are judged together too.
    """

    clips: U8
    kind: tuple[str, ...]
    track: tuple[str, ...]


def build_pad_set(
    people: LiveFaces, config: LivenessConfig, kinds: Sequence[str], scenes: Scenes,
    each: int = 40, frames: int = 4, seed: int = 7,
) -> PadSet:  # fmt: skip
    """Living tracks and as many attacks of each kind, ``frames`` clips a track.

    Args:
        people: whom nobody was trained on.
        config: of the network.
        kinds: of attacks.
        scenes: what stands around attacks.
        each: tracks a kind at most.
        frames: clips a track.
        seed: of everything random.
    """
    tracks = people.tracks()
    order = np.random.default_rng(seed).permutation(len(tracks))[:each]
    clips, names, track_names = [], [], []
    for name in ("live", *kinds):
        for n in order.tolist():
            # crc-like: a kind's attacks do not depend on which other kinds there are
            rng = np.random.default_rng((seed, n, *name.encode()))
            rows = (tracks[n] * frames)[:frames]
            for clip in _track(people, rows, name, config, scenes, rng):
                clips.append(clip)
                names.append(name)
                track_names.append(f"{name}/{n}")
    return PadSet(np.stack(clips), tuple(names), tuple(track_names))


def _track(
    people: LiveFaces,
    rows: Sequence[int],
    name: str,
    config: LivenessConfig,
    scenes: Scenes,
    rng: Rng,
) -> Iterator[U8]:
    """Clips of one track: the same attack goes on through all of them."""
    takes = [people.take(row, config.frames, rng) for row in rows]
    whole = Clip(tuple(i for t in takes for i in t.images), np.concatenate([t.xyxy for t in takes]))
    if name != "live":

        def bearer(rng: Rng) -> Clip:
            return people.take(int(rng.integers(len(people))), 1, rng)

        whole = simulate_attack(whole, ALL[name], scenes, bearer, rng)
    whole = Camera()(whole, rng)
    for first in range(0, len(whole), config.frames):
        part = slice(first, first + config.frames)
        yield cut_crops(Clip(whole.images[part], whole.xyxy[part].copy()), config, rng)


def read_clip_config(path: Path) -> LivenessConfig:
    """What a contract model sees, as far as clips are concerned.

    Raises:
        ModelError: it cannot be loaded.
    """
    from edge.models.contract import load_model
    from edge.runtimes.onnx import Options, build

    manifest = load_model("liveness", build(Options(lanes=1)), path).manifest
    return LivenessConfig(
        manifest.crop_scales, manifest.input_wh, manifest.clip_frames,
        "conv1d" if manifest.clip_frames > 1 else "none",
        ("plain",) * len(manifest.crop_scales),
    )  # fmt: skip


def load_clip_scorer(path: Path, config: LivenessConfig) -> ClipScorer:
    """A contract model as a function of clips of ``config``; one of single pictures is averaged.

    Raises:
        ConfigError: it wants other crops.
        ModelError: it cannot be loaded.
    """
    from edge.models.contract import load_model
    from edge.runtimes.onnx import Options, build

    model = load_model("liveness", build(Options(lanes=1)), path)
    manifest = model.manifest
    if (manifest.crop_scales, manifest.input_wh) != (config.scales, config.input_wh) or (
        manifest.clip_frames not in (1, config.frames)
    ):
        raise ConfigError(
            f"{path} sees crops {manifest.crop_scales} of {manifest.input_wh}, "
            f"{manifest.clip_frames} picture(s), the network {config.scales} of {config.input_wh}, "
            f"{config.frames}: take one that sees the same"
        )

    def ask(clips: U8) -> F32:
        parts = config.frames // manifest.clip_frames
        single = clips.reshape(-1, manifest.crops, *clips.shape[2:])
        return np.asarray(model.live(single).reshape(-1, parts).mean(1), np.float32)

    return ask
