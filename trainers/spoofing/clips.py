"""Clips of live people from labeled images, and batches that mix them with simulated attacks."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import cv2
import numpy as np

from edge.errors import ConfigError
from edge.types import F32, U8, RgbPicture
from edge.vision.face_crops import crop_wide
from edge.vision.resize import resize
from trainers.augment.augment import Rng
from trainers.data import image_file
from trainers.data.dataset import Dataset, Example, Problem
from trainers.data.picture_folder import find_pictures
from trainers.input.pipeline import locate_picture, plan_epoch
from trainers.metrics import pad
from trainers.networks.config import LivenessConfig
from trainers.spoofing.attacks import (
    ALL,
    Camera,
    Clip,
    extend_surroundings,
    mirror_clip,
    simulate_attack,
)
from trainers.spoofing.heads import film_turning

if TYPE_CHECKING:
    from edge.models.liveness import ContractLiveness

ClipScorer = Callable[[U8], F32]  # clips (N, C, h, w, 3) -> (N,) liveness score
_NUMBER = re.compile(r"[_/-]?[a-z]*\d+$")
_LEAST_FACE_PX = 30
_SCENE_PX = 480  # backgrounds are many, and small in the image
_ROOMIER = 0.25  # probability of more surroundings, as attacks from afar have
_CLOSE = 0.35  # probability of a face so close that the image ends around it, as at a door
_JITTER = 0.05  # of a box, in its sides: difference of a detector from a label
_SPARE = 1.5  # margin of the widest crop: four times the jitter, and the reach of a blur


def parse_track_name(example: Example) -> str:
    """The video of an image: its name without the number at the end."""
    return _NUMBER.sub("", example.name)


@dataclass(eq=False)
class LiveFaces:
    """Images of live people by track; the boxes of the data set are faces.

    Attributes:
        dataset: Its faces of `_LEAST_FACE_PX` and more.
        turns_heads: Make the clips of a face with landmarks of its one image, as a head that turns,
            see `heads`; the images of a track may be seconds apart.
        ram_bytes: For images that are kept.
    """

    dataset: Dataset
    turns_heads: bool = False
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
                f"No image shows a face of {_LEAST_FACE_PX} px: liveness needs boxes of faces."
            )
        tracks: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, example in enumerate(self.dataset.examples):
            tracks[example.group, parse_track_name(example)].append(row)
        self._tracks = dict(tracks)

    def __len__(self) -> int:
        return len(self.dataset)

    def tracks(self) -> list[list[int]]:
        """Indices of the images of each track, in order."""
        return list(self._tracks.values())

    def clip(self, row: int, frames: int, rng: Rng) -> Clip:
        """T images of a track from image ``row`` on; one of several faces.

        A track that is too short is played back and forth. An image with several faces is
        repeated, because their identity in the next image is unknown, unless its heads turn.

        Raises:
            ConfigError: An image is missing or broken.
        """
        example = self.dataset.examples[row]
        if len(example) > 1 or frames == 1:
            which = int(rng.integers(len(example)))
            if frames > 1 and self._turns(example, which):
                return self._turn(example, which, frames, rng)
            return Clip((self._image(example),) * frames, np.tile(example.xyxy[which], (frames, 1)))
        if self._turns(example, 0):
            return self._turn(example, 0, frames, rng)
        track = self._tracks[example.group, parse_track_name(example)]
        track = [r for r in track if len(self.dataset.examples[r]) == 1]
        walk = [*track, *track[-2:0:-1]] or track
        first = walk.index(row)
        rows = [walk[(first + t) % len(walk)] for t in range(frames)]
        examples = [self.dataset.examples[r] for r in rows]
        boxes = np.concatenate([e.xyxy for e in examples])
        return Clip(tuple(self._image(e) for e in examples), boxes)

    def _turns(self, example: Example, which: int) -> bool:
        return self.turns_heads and bool(np.isfinite(example.landmarks[which]).all())

    def _turn(self, example: Example, which: int, frames: int, rng: Rng) -> Clip:
        face = example.xyxy[which], example.landmarks[which]
        return Clip(*film_turning(self._image(example), *face, frames, rng))

    def draw(self, rng: Rng) -> Clip:
        """Draw a live person, as one image."""
        return self.clip(int(rng.integers(len(self))), 1, rng)

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
    """Backgrounds of attacks: any images ``(H, W, 3)``, or a wall with colored lights.

    Attributes:
        walls: Probability of a wall; 1 without pictures.
        notes: What was passed over.
    """

    pictures: tuple[U8, ...] = ()
    walls: float = 0.25
    notes: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, files: Sequence[Path], notes: Sequence[Problem] = ()) -> Scenes:
        """Read image files and shrink them.

        Raises:
            ConfigError: A file cannot be read.
        """
        pictures = tuple(_small(image_file.read(file).rgb) for file in files)
        return cls(pictures, notes=tuple(notes))

    def __call__(self, rng: Rng) -> U8:
        """Draw a background."""
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
        ConfigError: A folder holds none, or a picture cannot be read.
    """
    files, notes = list[Path](), list[Problem]()
    for folder in folders:
        pictures, passed_over = find_pictures(folder)
        if not pictures:
            why = "".join(f"; {note.what}" for note in passed_over)
            raise ConfigError(f"{folder} holds no picture: check --scenes{why}")
        files += pictures
        notes += passed_over
    return Scenes.read(files, notes)


class ClipBatch(TypedDict):
    """B clips: ``clips`` (B, C, h, w, 3) uint8; ``live`` (B,) float32, the target score."""

    clips: U8
    live: F32


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatches:
    """Batches of which half is live and half attacks: a `BatchSource`.

    Attributes:
        batch: B.
        kinds: Names of the attacks.
        seed: Seed of every random choice.
        scenes: Backgrounds of attacks.
        teacher: Scores live clips with another network.
        trust: Weight of the teacher in the targets of live clips; 0 sets them to 1.
        strength: Strength of the camera artifacts.
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
        """Batches per epoch."""
        return len(plan_epoch(len(self.people), max(self.batch // 2, 1), 0, 0, shuffle=True))

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and live images of each batch of an epoch."""
        half = max(self.batch // 2, 1)
        order = plan_epoch(len(self.people), half, self.seed, epoch, shuffle=True)
        for step, chosen in enumerate(order):
            yield epoch, step, chosen

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> ClipBatch:
        """Make a batch: each chosen image once live, once as an attack.

        Raises:
            ConfigError: An image is missing or broken.
            WorkerError: Anything else went wrong; names the image.
        """
        clips, live = [], []
        for place, row in enumerate(chosen.tolist()):
            rng = np.random.default_rng((self.seed, epoch, step, place))
            for alive in (True, False):
                with locate_picture(self.people.dataset.examples[row].path):
                    clips.append(self.clip(row, alive, rng))
                live.append(alive)
        whole, target = np.stack(clips), np.array(live, np.float32)
        if self.teacher is not None and self.trust:
            scores = self.teacher(whole[target > 0])
            target[target > 0] = 1 - self.trust + self.trust * scores
        return ClipBatch(clips=whole, live=target)

    def clip(self, row: int, alive: bool, rng: Rng) -> U8:
        """Crops of one clip from image ``row`` on: ``(C, h, w, 3)``."""
        clip = self.people.clip(row, self.config.frames, rng)
        if alive:
            if rng.random() < _ROOMIER:
                clip = extend_surroundings(clip, rng.uniform(1.1, 1.8))
            clip = cut_surroundings(clip, self.config)  # camera artifacts cost time per pixel
        else:
            kind = ALL[self.kinds[int(rng.integers(len(self.kinds)))]]
            clip = simulate_attack(clip, kind, self.scene, self.people.draw, rng)
        if rng.random() < _CLOSE:
            clip = cut_close(clip, rng.uniform(1.1, 2.2))
        clip = Camera(0.35 * self.strength)(clip, rng)
        clip = mirror_clip(clip) if rng.random() < 0.5 else clip
        return cut_crops(clip, self.config, rng)

    def scene(self, rng: Rng) -> U8:
        """Draw the background of an attack: half of the time that of a live person."""
        return self.scenes(rng) if rng.random() < 0.5 else self.people.draw(rng).images[0]


def cut_surroundings(clip: Clip, config: LivenessConfig) -> Clip:
    """The clip cropped to what the network sees, with a margin for jittered boxes."""
    images, boxes = [], []
    wide = max(config.scales) * _SPARE
    for image, box in zip(clip.images, clip.xyxy, strict=True):
        limit = np.array(image.shape[1::-1], np.float64)
        size = np.minimum(np.maximum(box[2:] - box[:2], 1) * wide, limit)
        low = np.clip((box[:2] + box[2:] - size) / 2, 0, limit - size).astype(int)
        high = np.ceil(low + size).astype(int)
        images.append(image[low[1] : high[1] + 1, low[0] : high[0] + 1])
        boxes.append(box - np.tile(low, 2))
    return Clip(tuple(images), np.array(boxes, np.float32))


def cut_close(clip: Clip, wide: float) -> Clip:
    """The clip as if the camera saw only a square ``wide`` times as large as the first face."""
    box = clip.xyxy[0]
    side = max(float((box[2:] - box[:2]).max()) * wide, 2.0)
    limit = np.array([image.shape[1::-1] for image in clip.images]).min(0)
    low = np.clip((box[:2] + box[2:] - side) / 2, 0, limit - 2).astype(int)
    high = np.minimum(low + int(side) + 1, limit)
    images = tuple(
        np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]) for image in clip.images
    )
    return Clip(images, (clip.xyxy - np.tile(low, 2)).astype(np.float32))


def cut_crops(clip: Clip, config: LivenessConfig, rng: Rng | None = None) -> U8:
    """Crops of a clip for the network, ``(C, h, w, 3)``; with ``rng``, boxes are jittered."""
    clips = []
    for image, box in zip(clip.images, clip.xyxy, strict=True):
        if rng is not None:
            side = float(np.sqrt(max((box[2:] - box[:2]).prod(), 1)))
            box = (box + rng.normal(0, _JITTER, 4) * side).astype(np.float32)
        picture = RgbPicture(np.ascontiguousarray(image))
        clips += [
            crop_wide(picture, box, scale, config.input_wh, config.resampling)
            for scale in config.scales
        ]
    return np.stack(clips)


@dataclass(frozen=True, slots=True, eq=False)
class PadSet:
    """A fixed set of clips for PAD evaluation.

    Attributes:
        clips: ``(N, C, h, w, 3)`` uint8.
        kind: Of each clip: ``live``, or the name of the attack.
        track: Of each clip, ``KIND/NUMBER``; the scores of a track are fused too.
        person: Whom each clip shows.
    """

    clips: U8
    kind: tuple[str, ...]
    track: tuple[str, ...]
    person: tuple[str, ...] = ()


def score_pad_set(
    score: F32, pad_set: PadSet, threshold: float
) -> tuple[pad.PadMetrics, pad.PadMetrics]:
    """PAD metrics of its clips, and of its tracks with fused scores."""
    fused, names = pad.fuse_tracks(score, pad_set.track)
    kinds = [name.partition("/")[0] for name in names]
    clips = pad.compute_pad_metrics(score, pad_set.kind, threshold, pad_set.person)
    of = dict(zip(pad_set.track, pad_set.person, strict=False))
    people = [of[name] for name in names] if of else []
    return clips, pad.compute_pad_metrics(fused, kinds, threshold, people)


def build_pad_set(
    people: LiveFaces, config: LivenessConfig, kinds: Sequence[str], scenes: Scenes,
    each: int = 40, frames: int = 4, seed: int = 7,
) -> PadSet:  # fmt: skip
    """Build a set of ``each`` live tracks at most and as many attacks of each kind.

    The people must not have been trained on. A track has ``frames`` clips.
    """
    tracks = people.tracks()
    order = np.random.default_rng(seed).permutation(len(tracks))[:each]
    clips, names, track_names, shown = [], [], [], []
    for name in ("live", *kinds):
        for n in order.tolist():
            # crc-like: a kind's attacks do not depend on which other kinds there are
            rng = np.random.default_rng((seed, n, *name.encode()))
            rows = (tracks[n] * frames)[:frames]
            for clip in _track(people, rows, name, config, scenes, rng):
                clips.append(clip)
                names.append(name)
                track_names.append(f"{name}/{n}")
                shown.append(people.dataset.examples[rows[0]].group)
    return PadSet(np.stack(clips), tuple(names), tuple(track_names), tuple(shown))


def _track(
    people: LiveFaces, rows: Sequence[int], name: str, config: LivenessConfig, scenes: Scenes,
    rng: Rng,
) -> Iterator[U8]:  # fmt: skip
    """Clips of one track: the same attack continues through all of them."""
    parts = [people.clip(row, config.frames, rng) for row in rows]
    whole = Clip(tuple(i for t in parts for i in t.images), np.concatenate([t.xyxy for t in parts]))
    if name != "live":
        whole = simulate_attack(whole, ALL[name], scenes, people.draw, rng)
    whole = Camera()(whole, rng)
    for first in range(0, len(whole), config.frames):
        part = slice(first, first + config.frames)
        yield cut_crops(Clip(whole.images[part], whole.xyxy[part].copy()), config, rng)


def _load_model(path: Path) -> ContractLiveness:
    from edge.models.contract import load_model
    from edge.runtimes.onnx import Options, build

    return load_model("liveness", build(Options(workers=1)), path)


def read_clip_config(path: Path) -> LivenessConfig:
    """The configuration of clips as a contract model takes them.

    Raises:
        ModelError: It cannot be loaded.
    """
    manifest = _load_model(path).manifest
    return LivenessConfig(
        manifest.crop_scales, manifest.input_wh, manifest.clip_frames,
        "conv1d" if manifest.clip_frames > 1 else "none",
        ("plain",) * len(manifest.crop_scales), manifest.resampling,
    )  # fmt: skip


def load_clip_scorer(path: Path, config: LivenessConfig) -> ClipScorer:
    """Load a contract model as a function of clips; scores of single frames are averaged.

    Raises:
        ConfigError: The model takes other crops.
        ModelError: It cannot be loaded.
    """
    model = _load_model(path)
    manifest = model.manifest
    own = (manifest.crop_scales, manifest.input_wh, manifest.resampling)
    if own != (config.scales, config.input_wh, config.resampling) or (
        manifest.clip_frames not in (1, config.frames)
    ):
        raise ConfigError(
            f"This model takes crops {manifest.crop_scales} of {manifest.input_wh}, "
            f"{manifest.resampling}, {manifest.clip_frames} frame(s); the network {config.scales} "
            f"of {config.input_wh}, {config.resampling}, {config.frames}: choose a model with the "
            "same crops.",
            file=path,
        )

    def ask(clips: U8) -> F32:
        parts = config.frames // manifest.clip_frames
        single = clips.reshape(-1, manifest.crops, *clips.shape[2:])
        return np.asarray(model.live(single).reshape(-1, parts).mean(1), np.float32)

    return ask
